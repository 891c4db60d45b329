"""What every store promises. Each test runs over all stores; what only files can do stands at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import asyncpg
import pytest

from controlplane.audit import Decision, Entry
from controlplane.store.memory import MemoryStore
from controlplane.store.port import (
    AlreadyExistsError,
    Change,
    ConflictError,
    Event,
    Key,
    NotFoundError,
    Store,
    UnavailableError,
    UnusableError,
)
from controlplane.store.postgres import PostgresStore, migrate
from controlplane.store.schema import LATEST, migrate_sqlite
from controlplane.store.sqlite import SqliteStore
from tests.contract.database import KEY, fresh_database, postgres_server

A = Key("things.example", "shop", "a")
B = Key("things.example", "shop", "b")
OTHER = Key("things.example", "other", "a")

Open = Callable[[], Awaitable[Store]]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    with postgres_server() as dsn:
        yield dsn


@pytest.fixture
async def database(postgres: str) -> str:
    return await fresh_database(postgres)


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


async def events(store: Store, after: int, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(5), aclosing(store.watch(after)) as stream:
        async for event in stream:
            found.append(event)
            if len(found) == count:
                break
    return found


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


def an_entry(name: str = "a", decision: Decision = Decision.ALLOW) -> Entry:
    return Entry("create", "ann", decision, name=name, detail={"diff": [name]})


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


class TestSqlite:
    """What a file adds: it survives, and it is refused when it is none of ours."""

    async def test_everything_survives_a_restart(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        await store.create(A, {"x": 1})
        await store.replace(A, {"x": 2})
        await store.delete(A)
        record = await store.create(B, {"y": 1})
        await store.close()
        store = await SqliteStore.open(tmp_path / "store.db")
        assert (store.revision, await store.get(B)) == (4, record)
        assert [e.record.revision for e in await events(store, 1, 3)] == [2, 3, 4]
        assert (await store.create(A, {})).revision == 5
        await store.close()

    async def test_only_the_owner_may_read_it(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "s" / "store.db")
        await store.create(A, {})
        modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "s").iterdir()}
        await store.close()
        assert modes["store.db"] == 0o600
        assert set(modes.values()) == {0o600}

    @pytest.mark.parametrize("kind", ["text", "other version", "directory", "below a file"])
    async def test_an_unusable_file_is_refused_with_what_to_do(self, tmp_path: Path, kind: str) -> None:
        path = tmp_path / "store.db"
        match kind:
            case "text":
                path.write_text("this is no database" * 100)
            case "other version":
                with sqlite3.connect(path) as db:
                    db.execute("PRAGMA user_version=99")
                db.close()
            case "directory":
                path.mkdir()
            case _:
                path.write_text("")
                path = path / "store.db"
        with pytest.raises(UnusableError, match=r"store\.db.*check"):
            await SqliteStore.open(path)

    async def test_a_directory_that_cannot_be_written_is_refused(self) -> None:
        """/proc takes no files, not even from root."""
        with pytest.raises(UnusableError, match="/proc/pylis"):
            await SqliteStore.open(Path("/proc/pylis/store.db"))

    async def test_the_audit_log_survives_and_tampering_with_the_file_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        store = await SqliteStore.open(path)
        for n in range(5):
            await store.create(Key("t", "", f"n{n}"), {}, audit=an_entry(f"n{n}"))
        await store.close()
        store = await SqliteStore.open(path)
        await store.record(an_entry("after"))
        assert (await store.verify_audit())[1] == []
        await store.close()
        original = path.read_bytes()
        for statement in (
            "UPDATE audit SET line=replace(line, 'ann', 'bob') WHERE sequence=2",
            "DELETE FROM audit WHERE sequence=3",
            "DELETE FROM audit WHERE sequence=6",
            "UPDATE audit SET sequence=CASE sequence WHEN 2 THEN -3 WHEN 3 THEN 2 ELSE sequence END;"
            "UPDATE audit SET sequence=3 WHERE sequence=-3",
            "DELETE FROM audit; UPDATE counter SET audit_sequence=1, audit_hash='a'",
        ):
            path.write_bytes(original)
            with contextlib.closing(sqlite3.connect(path)) as db:
                db.executescript(statement)
            store = await SqliteStore.open(path)
            assert (await store.verify_audit())[1], statement
            await store.close()

    async def test_secrets_are_sealed_in_the_file(self, tmp_path: Path) -> None:
        path, secret = tmp_path / "store.db", Key("secrets", "shop", "a")
        store = await SqliteStore.open(path)
        await store.create(secret, {"data": {"p": "c2VjcmV0LXBhc3N3b3Jk"}})
        await store.replace(secret, {"data": {"p": "b3RoZXItcGFzc3dvcmQ="}})
        await store.close()
        content = await asyncio.to_thread(lambda: b"".join(f.read_bytes() for f in tmp_path.iterdir()))
        assert b"c2VjcmV0LXBhc3N3b3Jk" not in content
        assert b"b3RoZXItcGFzc3dvcmQ" not in content
        store = await SqliteStore.open(path)
        record = await store.get(secret)
        assert record is not None
        assert record.value == {"data": {"p": "b3RoZXItcGFzc3dvcmQ="}}
        assert (
            next(e.record.value["data"]["p"] for e in await store.history(secret)) == "c2VjcmV0LXBhc3N3b3Jk"
        )
        await store.close()
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.executescript("UPDATE objects SET name='b' WHERE name='a'")
        with pytest.raises(UnusableError, match="cannot be decrypted"):
            await SqliteStore.open(path)

    async def test_another_envelope_key_does_not_open_it(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "store.db", b"k" * 32)
        await store.close()
        with pytest.raises(UnusableError, match="envelope key"):
            await SqliteStore.open(tmp_path / "store.db", b"x" * 32)
        await (await SqliteStore.open(tmp_path / "store.db", b"k" * 32)).close()

    async def test_a_file_has_one_server(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "store.db")
        with pytest.raises(UnusableError, match="another server"):
            await SqliteStore.open(tmp_path / "store.db")
        await store.close()

    async def test_a_backup_is_whole_while_writes_go_on(self, tmp_path: Path) -> None:
        store = await SqliteStore.open(tmp_path / "a" / "store.db", b"k" * 32)
        writes = [asyncio.create_task(store.create(Key("t", "", f"n{n}"), {})) for n in range(50)]
        await store.backup(tmp_path / "copy.db")
        await asyncio.gather(*writes)
        await store.close()
        copy = await SqliteStore.open(tmp_path / "copy.db", b"k" * 32)
        records, revision = await copy.list("t")
        assert len(records) == revision
        assert (await copy.verify_audit())[1] == []
        await copy.close()

    async def test_migrations_go_forward_and_back(self, tmp_path: Path) -> None:
        path = tmp_path / "store.db"
        store = await SqliteStore.open(path)
        await store.create(A, {"x": 1})
        await store.close()
        for version in (1, LATEST, 0, LATEST):
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
                migrate_sqlite(db, version)
                assert db.execute("PRAGMA user_version").fetchone() == (version,)
            if version == LATEST:
                store = await SqliteStore.open(path)
                kept = await store.get(A)
                await store.create(B, {}, audit=an_entry())
                await store.delete(B)
                await store.close()
        assert kept is None  # version 0 has no tables

    async def test_no_acknowledged_write_is_lost_by_kill_9(self, tmp_path: Path) -> None:
        """Writers are killed at any moment; what they had said is written must be there."""
        acknowledged = 0
        for delay in (0.0, 0.003, 0.011, 0.027, 0.05):
            said = await asyncio.to_thread(_write_until_killed, tmp_path / "store.db", acknowledged, delay)
            assert said > acknowledged
            acknowledged = said
            store = await SqliteStore.open(tmp_path / "store.db")
            records, revision = await store.list("t")
            found = {int(r.key.name): r.value["n"] for r in records}
            told = [e.record.revision for e in await events(store, 0, revision)]
            await store.close()
            assert set(range(acknowledged)) <= found.keys()
            assert all(name == n for name, n in found.items())
            assert (revision, told) == (len(found), list(range(1, len(found) + 1)))
            acknowledged = len(found)


async def _until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - the store tells of it to nobody
            await asyncio.sleep(0.01)


class TestPostgres:
    """What a database adds: several servers, one order; and that it may go away."""

    async def test_everything_survives_and_is_shared(self, database: str) -> None:
        one, other = await PostgresStore.open(database, KEY), await PostgresStore.open(database, KEY)
        await one.create(A, {"x": 1}, audit=an_entry())
        record = await other.replace(A, {"x": 2}, expected=1, audit=an_entry())
        assert await one.get(A) == record
        told = [await events(s, 0, 2) for s in (one, other)]
        assert told[0] == told[1]
        with pytest.raises(ConflictError):
            await one.replace(A, {"x": 3}, expected=1)
        await one.close()
        await other.close()
        again = await PostgresStore.open(database, KEY)
        assert (again.revision, (await again.verify_audit())[1]) == (2, [])
        assert [e.record.revision for e in await events(again, 0, 2)] == [1, 2]
        await again.close()

    async def test_concurrent_writers_of_two_servers_make_one_order(self, database: str) -> None:
        stores = [await PostgresStore.open(database, KEY) for _ in range(2)]
        writes = [
            stores[n % 2].create(Key("t", "", f"n{n}"), {"n": n}, audit=an_entry(f"n{n}")) for n in range(120)
        ]
        records = await asyncio.gather(*writes)
        assert sorted(r.revision for r in records) == list(range(1, 121))
        told = [await events(s, 0, 120) for s in stores]
        assert told[0] == told[1]
        head, faults = await stores[0].verify_audit()
        assert (head.sequence, faults) == (120, [])
        for store in stores:
            await store.close()

    async def test_one_server_leads_and_another_takes_over(self, database: str) -> None:
        one = await PostgresStore.open(database, KEY)
        await _until(lambda: one.leading)
        other = await PostgresStore.open(database, KEY)
        await other.create(A, {})
        assert not other.leading
        await one.close()
        await _until(lambda: other.leading)
        await other.close()

    async def test_cut_connections_come_back_and_nothing_is_missed(self, database: str) -> None:
        cut, other = await PostgresStore.open(database, KEY), await PostgresStore.open(database, KEY)
        await _until(lambda: cut.leading or other.leading)
        db = await asyncpg.connect(database)
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname=current_database() AND pid<>pg_backend_pid()"
        for n in range(10):
            await db.execute(query)
            await _written(other, Key("t", "", f"n{n}"))
        told = await events(cut, 0, 10)
        assert [e.record.key.name for e in told] == [f"n{n}" for n in range(10)]
        await _until(lambda: cut.leading != other.leading)
        query = "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND objsubid=1 AND granted"  # 2: a server's own
        assert await db.fetchval(query) <= 1
        await db.close()
        await cut.close()
        await other.close()

    async def test_secrets_are_sealed_and_another_key_opens_nothing(self, database: str) -> None:
        store, secret = await PostgresStore.open(database, KEY), Key("secrets", "shop", "a")
        await store.create(secret, {"data": {"p": "c2VjcmV0"}})
        record = await store.get(secret)
        assert record is not None
        assert record.value == {"data": {"p": "c2VjcmV0"}}
        await store.close()
        db = await asyncpg.connect(database)
        texts = [
            r["value"] for r in await db.fetch("SELECT value FROM objects UNION ALL SELECT value FROM events")
        ]
        await db.close()
        assert texts
        assert not any("c2VjcmV0" in text for text in texts)
        with pytest.raises(UnusableError, match="envelope key"):
            await PostgresStore.open(database, b"x" * 32)

    async def test_tampering_is_found(self, database: str) -> None:
        store = await PostgresStore.open(database, KEY)
        await store.record(*(an_entry(f"n{n}") for n in range(4)))
        db = await asyncpg.connect(database)
        await db.execute("DELETE FROM audit WHERE sequence=4")
        assert "cut off" in (await store.verify_audit())[1][0].reason
        await db.execute("DELETE FROM audit WHERE sequence=2")
        assert (await store.verify_audit())[1][0].sequence == 3
        await db.close()
        await store.close()

    async def test_migrations_go_forward_and_back(self, database: str) -> None:
        db = await asyncpg.connect(database)
        for version in (LATEST, 1, LATEST, 0, LATEST):
            await migrate(db, version)
        await db.execute("UPDATE schema_version SET version=99")
        await db.close()
        with pytest.raises(UnusableError, match="version 99"):
            await PostgresStore.open(database, KEY)

    async def test_no_database_is_said_in_words(self) -> None:
        with pytest.raises(UnusableError, match="cannot use this PostgreSQL"):
            await PostgresStore.open("postgresql://nobody@127.0.0.1:1/none", KEY)


async def _written(store: Store, key: Key) -> None:
    """Until it is: a connection may be cut at any moment, and the answer with it."""
    while True:
        try:
            await store.create(key, {})
        except UnavailableError:
            await asyncio.sleep(0.01)
        except AlreadyExistsError:
            return
        else:
            return


_WRITER = """
import asyncio, os, sys
from pathlib import Path
from controlplane.store.port import Key
from controlplane.store.sqlite import SqliteStore

async def main():
    store, n = await SqliteStore.open(Path(sys.argv[1])), int(sys.argv[2])
    while True:
        await store.create(Key("t", "", str(n)), {"n": n})
        n += 1
        os.write(1, b"%d\\n" % n)

asyncio.run(main())
"""


def _write_until_killed(path: Path, start: int, delay: float) -> int:
    """How many writes the killed process had acknowledged."""
    command = [sys.executable, "-c", _WRITER, str(path), str(start)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(5)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            writer.wait(delay)
        os.kill(writer.pid, signal.SIGKILL)
        lines += writer.stdout.readlines()
    return int([line for line in lines if line.endswith(b"\n")][-1])
