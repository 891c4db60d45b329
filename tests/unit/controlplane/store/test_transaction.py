"""What a write means, apart from any store: outcomes, events and audit records of one batch."""

from __future__ import annotations

from controlplane.audit import Entry, Head
from controlplane.store.port import AlreadyExistsError, Change, ConflictError, Key, NotFoundError, Record
from controlplane.store.transaction import Batch, Create, Delete, Note, Replace

A = Key("t", "", "a")


def a_batch(*records: Record) -> Batch:
    return Batch(7, Head(), {r.key: r for r in records}, "2026-11-26T02:00:00.000000Z")


def test_writes_of_one_batch_see_each_other() -> None:
    batch = a_batch()
    outcomes = [
        batch.outcome(w)
        for w in (
            Create(A, "1"), Create(A, "2"), Replace(A, "3", 8), Replace(A, "4", 8), Replace(A, "3"), Delete(A), Delete(A),
        )
    ]  # fmt: skip
    assert outcomes[0] == Record(A, "1", 8, 8)
    assert isinstance(outcomes[1], AlreadyExistsError)
    assert outcomes[2] == Record(A, "3", 8, 9)
    assert isinstance(outcomes[3], ConflictError)
    assert outcomes[4] == outcomes[2], "nothing changed"
    assert outcomes[5] == Record(A, "3", 8, 10)
    assert isinstance(outcomes[6], NotFoundError)
    assert [(e.change, e.record.revision) for e in batch.events] == [
        (Change.ADDED, 8), (Change.MODIFIED, 9), (Change.DELETED, 10),
    ]  # fmt: skip
    assert (batch.changed, batch.revision) == ({A: None}, 10)


def test_only_what_happened_is_audited() -> None:
    batch = a_batch(Record(A, "1", 1, 1))
    entry = Entry("update", "ann")
    for write in (
        Replace(A, "1", None, entry),
        Create(A, "2", entry),
        Replace(A, "2", None, entry),
        Note((entry, entry)),
    ):
        batch.outcome(write)
    assert [(r.sequence, r.revision) for r in batch.audit] == [(1, 8), (2, 8), (3, 8)]
    assert batch.events[0].author == "ann"
