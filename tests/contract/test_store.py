"""What every store promises. Each test runs over all stores; what only files can do stands at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from controlplane.store.memory import MemoryStore
from controlplane.store.port import (
    AlreadyExistsError,
    Change,
    ConflictError,
    Event,
    Key,
    NotFoundError,
    Store,
    UnusableError,
)
from controlplane.store.sqlite import SqliteStore

A = Key("things.example", "shop", "a")
B = Key("things.example", "shop", "b")
OTHER = Key("things.example", "other", "a")

Open = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store = (
        MemoryStore() if request.param == "memory" else await SqliteStore.open(tmp_path / "s" / "store.db")
    )
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
