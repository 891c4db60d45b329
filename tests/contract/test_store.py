"""What every store promises. Each test runs over all stores."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from controlplane.audit import Decision
from controlplane.store.memory import MemoryStore
from controlplane.store.port import (
    AlreadyExistsError,
    Change,
    ConflictError,
    Key,
    NotFoundError,
    Store,
)
from controlplane.store.postgres import PostgresStore
from controlplane.store.sqlite import SqliteStore
from tests.contract.changes import OTHER, A, B, an_entry, events
from tests.contract.database import KEY, fresh_database

Open = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store
    match request.param:
        case "memory":
            opened = MemoryStore()
        case "sqlite":
            opened = await SqliteStore.open(tmp_path / "s" / "store.db")
        case _:
            opened = await PostgresStore.open(await fresh_database(request.getfixturevalue("postgres")), KEY)
    yield opened
    await opened.close()


async def test_a_new_store_is_empty(store: Store) -> None:
    assert (store.revision, await store.get(A), await store.list("things.example")) == (0, None, ([], 0))


async def test_what_is_created_is_got(store: Store) -> None:
    record = await store.create(A, {"x": [1, "ü", None, {"y": 1.5}]})
    assert (record.key, record.created, record.revision) == (A, 1, 1)
    assert await store.get(A) == record


async def test_the_order_of_fields_is_kept(store: Store) -> None:
    await store.create(A, {"z": 1, "a": {"y": 1, "b": 2}})
    record = await store.get(A)
    assert record is not None
    assert (list(record.value), list(record.value["a"])) == (["z", "a"], ["y", "b"])


async def test_a_name_is_taken_once(store: Store) -> None:
    await store.create(A, {"x": 1})
    with pytest.raises(AlreadyExistsError):
        await store.create(A, {"x": 2})
    record = await store.get(A)
    assert record is not None
    assert (record.value, store.revision) == ({"x": 1}, 1)


async def test_a_replacement_raises_the_revision_and_keeps_the_creation(store: Store) -> None:
    await store.create(A, {"x": 1})
    record = await store.replace(A, {"x": 2}, expected=1)
    assert (record.created, record.revision, record.value) == (1, 2, {"x": 2})
    assert await store.get(A) == record


async def test_a_stale_writer_is_told_so(store: Store) -> None:
    await store.create(A, {"x": 1})
    await store.replace(A, {"x": 2})
    with pytest.raises(ConflictError):
        await store.replace(A, {"x": 3}, expected=1)
    with pytest.raises(ConflictError):
        await store.replace(A, {"x": 2}, expected=1)
    with pytest.raises(ConflictError):
        await store.delete(A, expected=1)
    record = await store.get(A)
    assert record is not None
    assert (record.value, store.revision) == ({"x": 2}, 2)


async def test_what_is_not_there_cannot_be_changed(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.replace(A, {"x": 1})
    with pytest.raises(NotFoundError):
        await store.delete(A)
    assert await store.take(A) is None
    assert store.revision == 0


async def test_a_replacement_by_the_same_is_nothing(store: Store) -> None:
    first = await store.create(A, {"x": [1]})
    assert await store.replace(A, {"x": [1]}, expected=1) == first
    await store.create(B, {})
    assert store.revision == 2
    assert [e.record.key for e in await events(store, 0, 2)] == [A, B]


async def test_a_name_is_free_after_deletion_and_the_new_object_is_another(store: Store) -> None:
    await store.create(A, {"x": 1})
    gone = await store.delete(A, expected=1)
    assert (gone.value, gone.revision, await store.get(A)) == ({"x": 1}, 2, None)
    again = await store.create(A, {"x": 1})
    assert (again.created, again.revision) == (3, 3)


async def test_a_list_is_sorted_and_names_its_revision(store: Store) -> None:
    for key in (B, A, OTHER, Key("others.example", "shop", "a")):
        await store.create(key, {})
    records, revision = await store.list("things.example")
    assert ([r.key for r in records], revision) == ([OTHER, A, B], 4)
    records, _ = await store.list("things.example", "shop")
    assert [r.key for r in records] == [A, B]
    assert (await store.list("things.example", "nowhere"))[0] == []


async def test_of_fifty_takers_one_gets_it(store: Store) -> None:
    await store.create(A, {"secret": 1})
    taken = await asyncio.gather(*(store.take(A) for _ in range(50)))
    assert [r.value for r in taken if r is not None] == [{"secret": 1}]
    assert store.revision == 2


async def test_of_fifty_creators_one_wins(store: Store) -> None:
    outcomes = await asyncio.gather(*(store.create(A, {"n": n}) for n in range(50)), return_exceptions=True)
    assert sum(isinstance(o, AlreadyExistsError) for o in outcomes) == 49


async def test_of_fifty_readers_of_a_revision_one_may_write(store: Store) -> None:
    await store.create(A, {})
    outcomes = await asyncio.gather(
        *(store.replace(A, {"n": n}, expected=1) for n in range(50)), return_exceptions=True
    )
    assert sum(isinstance(o, ConflictError) for o in outcomes) == 49


async def test_a_watch_tells_every_change_in_order(store: Store) -> None:
    await store.create(A, {"x": 1})
    await store.replace(A, {"x": 2})
    await store.delete(A)
    await store.create(B, {})
    told = [(e.change, e.record.key, e.record.value, e.record.revision) for e in await events(store, 0, 4)]
    assert told == [
        (Change.ADDED, A, {"x": 1}, 1),
        (Change.MODIFIED, A, {"x": 2}, 2),
        (Change.DELETED, A, {"x": 2}, 3),
        (Change.ADDED, B, {}, 4),
    ]
    assert [e.record.revision for e in await events(store, 2, 2)] == [3, 4]


async def test_a_watch_waits_for_what_comes(store: Store) -> None:
    waiting = [asyncio.create_task(events(store, 0, 20)) for _ in range(3)]
    await asyncio.gather(*(store.create(Key("t", "", f"n{n}"), {}) for n in range(20)))
    for found in await asyncio.gather(*waiting):
        assert [e.record.revision for e in found] == list(range(1, 21))


async def test_a_list_and_a_watch_from_its_revision_miss_nothing(store: Store) -> None:
    async def write() -> None:
        for n in range(30):
            await store.create(Key("t", "", f"n{n:02}"), {})

    writer = asyncio.create_task(write())
    await store.create(A, {})
    records, revision = await store.list("t")
    rest = await events(store, revision, 31 - revision) if revision < 31 else []
    await writer
    names = {r.key.name for r in records} | {e.record.key.name for e in rest if e.record.key != A}
    assert names == {f"n{n:02}" for n in range(30)}


async def test_a_change_and_its_audit_entry_are_one(store: Store) -> None:
    await store.create(A, {"x": 1}, audit=an_entry("made"))
    await store.replace(A, {"x": 2}, audit=an_entry("changed"))
    await store.replace(A, {"x": 2}, audit=an_entry("nothing"))
    with pytest.raises(ConflictError):
        await store.replace(A, {"x": 3}, expected=1, audit=an_entry("stale"))
    await store.delete(A, audit=an_entry("gone"))
    records = await store.audit_records()
    assert [(r.sequence, r.entry.name, r.revision) for r in records] == [
        (1, "made", 1), (2, "changed", 2), (3, "gone", 3),
    ]  # fmt: skip
    assert [r.sequence for r in await store.audit_records(after=1, limit=1)] == [2]


async def test_refusals_are_recorded_without_a_change(store: Store) -> None:
    await store.record(an_entry("x", Decision.REFUSE), an_entry("y", Decision.REFUSE))
    head = await store.audit_head()
    assert (head.sequence, store.revision) == (2, 0)
    assert (await store.audit_records())[-1].head == head
    assert await store.verify_audit() == (head, [])


async def test_the_chain_holds_under_concurrent_writers(store: Store) -> None:
    writes = [store.create(Key("t", "", f"n{n}"), {}, audit=an_entry(f"n{n}")) for n in range(40)]
    await asyncio.gather(*writes, *(store.record(an_entry(f"r{n}")) for n in range(40)))
    head, faults = await store.verify_audit()
    assert (head.sequence, faults) == (80, [])


async def test_history_is_the_major_changes_of_one_name(store: Store) -> None:
    await store.create(A, {"x": 1}, audit=an_entry())
    await store.replace(A, {"x": 2})
    await store.replace(A, {"x": 2, "status": 1}, minor=True)
    await store.delete(A)
    await store.create(B, {})
    told = [(e.change, e.record.value, e.record.revision, e.author) for e in await store.history(A)]
    assert told == [
        (Change.ADDED, {"x": 1}, 1, "ann"),
        (Change.MODIFIED, {"x": 2}, 2, ""),
        (Change.DELETED, {"x": 2, "status": 1}, 4, ""),
    ]
    assert all(e.time for e in await store.history(A))


async def test_compaction_keeps_objects_watches_and_a_hundred_changes(store: Store) -> None:
    await store.create(A, {"n": 0})
    for n in range(1, 130):
        await store.replace(A, {"n": n})
    await store.compact()
    assert len(await store.history(A)) >= 100
    record = await store.get(A)
    assert record is not None
    assert record.value == {"n": 129}
    assert len(await events(store, 100, 30)) == 30


async def test_a_memory_store_does_not_grow_without_end() -> None:
    store = MemoryStore(kept=50, audit_kept=20)
    for n in range(400):
        await store.replace(A, {"n": n}, audit=an_entry()) if n else await store.create(
            A, {"n": 0}, audit=an_entry()
        )
        await store.create(Key("t.internal", "", f"n{n}"), {})
        await store.create(Key("gone.example", "", f"n{n}"), {})
        await store.delete(Key("gone.example", "", f"n{n}"))
    kept = [e for n in range(400) for e in await store.history(Key("gone.example", "", f"n{n}"))]
    assert len(kept) <= 200
    assert [e.record.value["n"] for e in await store.history(A)][-100:] == list(range(300, 400))
    assert len(await store.history(A)) <= 200
    records = await store.audit_records()
    assert 20 <= len(records) <= 40
    head, faults = await store.verify_audit()
    assert (head, faults) == (await store.audit_head(), [])
    assert head.sequence == records[-1].sequence == 400
    assert [r.sequence for r in await store.audit_records(after=395)] == [396, 397, 398, 399, 400]
