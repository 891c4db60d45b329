"""What the store says, as a caller of the API hears it."""

from __future__ import annotations

from controlplane.api.errors import from_store, words
from controlplane.resources.kinds import by_word
from controlplane.store.port import FullError, UnavailableError


def test_a_full_disk_is_named_and_the_stores_own_words_are_not() -> None:
    kind = by_word("cm")
    assert kind is not None
    for error, said in (
        (FullError("/var/lib/x"), "disk is full: nothing was written"),
        (UnavailableError("db.internal:5432"), "cannot be used now"),
    ):
        for answer in (from_store(error, kind, "x"), words(error)):
            assert answer.code == 503
            assert said in str(answer)
            assert str(error) not in str(answer)
