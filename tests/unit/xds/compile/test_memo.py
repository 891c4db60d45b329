from __future__ import annotations

import gc
from itertools import count

from xds.compile.memo import ByIdentity, Recent, WhileHeld


class Thing:
    """Equal to every other, and never to be hashed."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)

    __hash__ = None  # type: ignore[assignment]


def test_an_object_is_known_by_what_it_is_not_by_what_it_equals() -> None:
    numbers, memo = count(), ByIdentity[Thing, int]()
    one, other = Thing(), Thing()
    assert memo.get(one, lambda _: next(numbers)) == 0
    assert memo.get(other, lambda _: next(numbers)) == 1
    assert memo.get(one, lambda _: next(numbers)) == 0


def test_what_was_made_of_an_object_goes_with_it() -> None:
    memo, one = ByIdentity[Thing, int](), Thing()
    memo.get(one, lambda _: 1)
    del one
    gc.collect()
    assert len(memo) == 0


def test_the_one_not_asked_for_longest_is_forgotten() -> None:
    made: list[str] = []
    memo: Recent[str] = Recent(2)

    def ask(key: str) -> None:
        memo.get(key, lambda: made.append(key) or key)

    for key in ("a", "b", "a", "c", "a", "b"):
        ask(key)
    assert made == ["a", "b", "c", "b"]
    assert len(memo) == 2


class Part:
    """With a weak reference slot, as any class."""


def test_parts_are_shared_while_somebody_holds_them_and_forgotten_with_the_last() -> None:
    memo: WhileHeld[Part] = WhileHeld()
    one = memo.get("key", lambda: (Part(), Part()))
    assert memo.get("key", lambda: (Part(),)) == one
    kept = one[0]
    del one
    gc.collect()
    assert len(memo) == 0, "one of two parts is nobody's any more"
    assert kept not in memo.get("key", lambda: (Part(),))


def test_what_parts_were_made_from_lives_as_long_as_they_do() -> None:
    memo: WhileHeld[Part] = WhileHeld()
    template = memo.get("template", lambda: (Part(),))
    placed = memo.get("placed", lambda: (Part(),), basis=template)
    del template
    gc.collect()
    assert len(memo) == 2
    del placed
    gc.collect()
    assert len(memo) == 0


def test_parts_that_were_made_again_outlive_the_end_of_the_first() -> None:
    memo: WhileHeld[Part] = WhileHeld()
    first, second = memo.get("key", lambda: (Part(), Part()))
    del first
    gc.collect()
    again = memo.get("key", lambda: (Part(), Part()))
    del second
    gc.collect()
    assert memo.get("key", lambda: (Part(),)) == again
