"""What a file adds: it survives, and it is refused when it is none of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.store.port import (
    Key,
    UnusableError,
)
from controlplane.store.schema import LATEST, migrate_sqlite
from controlplane.store.sqlite import SqliteStore
from tests.contract.changes import A, B, an_entry, events


async def test_everything_survives_a_restart(tmp_path: Path) -> None:
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


async def test_writes_that_are_committed_together_survive_as_they_were_told(tmp_path: Path) -> None:
    """More of them than stand in one statement; of one object the last word counts."""
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.create(A, {"of": "before"})
    many = [Key(A.resource, "many", f"n{number}") for number in range(150)]
    writes = [store.create(key, {"name": key.name}, audit=an_entry()) for key in many]
    writes += [store.create(B, {}), store.delete(B)]
    writes += [store.delete(A), store.create(A, {"of": "after"}), store.replace(A, {"of": "the end"})]
    await asyncio.gather(*writes)  # they wait for their turn together
    await store.close()
    store = await SqliteStore.open(tmp_path / "store.db")
    assert await store.get(B) is None
    assert [r.value for r in (await store.list(A.resource, A.namespace))[0]] == [{"of": "the end"}]
    found, _ = await store.list(A.resource, "many")
    assert {r.key: r.value["name"] for r in found} == {key: key.name for key in many}
    assert [e.record.revision for e in await events(store, 0, 156)] == [*range(1, 157)]
    head, faults = await store.verify_audit()
    assert (head.sequence, faults) == (150, [])
    await store.close()


async def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "s" / "store.db")
    await store.create(A, {})
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "s").iterdir()}
    await store.close()
    assert modes["store.db"] == 0o600
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("kind", ["text", "other version", "directory", "below a file"])
async def test_an_unusable_file_is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
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


async def test_a_directory_that_cannot_be_written_is_refused() -> None:
    """/proc takes no files, not even from root."""
    with pytest.raises(UnusableError, match="/proc/pylis"):
        await SqliteStore.open(Path("/proc/pylis/store.db"))


async def test_the_audit_log_survives_and_tampering_with_the_file_is_found(tmp_path: Path) -> None:
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


async def test_secrets_are_sealed_in_the_file(tmp_path: Path) -> None:
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
    assert next(e.record.value["data"]["p"] for e in await store.history(secret)) == "c2VjcmV0LXBhc3N3b3Jk"
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("UPDATE objects SET name='b' WHERE name='a'")
    with pytest.raises(UnusableError, match="cannot be decrypted"):
        await SqliteStore.open(path)


async def test_another_envelope_key_does_not_open_it(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db", b"k" * 32)
    await store.close()
    with pytest.raises(UnusableError, match="envelope key"):
        await SqliteStore.open(tmp_path / "store.db", b"x" * 32)
    await (await SqliteStore.open(tmp_path / "store.db", b"k" * 32)).close()


async def test_a_file_has_one_server(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    with pytest.raises(UnusableError, match="another server"):
        await SqliteStore.open(tmp_path / "store.db")
    await store.close()


async def test_a_backup_is_whole_while_writes_go_on(tmp_path: Path) -> None:
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


async def test_migrations_go_forward_and_back(tmp_path: Path) -> None:
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


async def test_no_acknowledged_write_is_lost_by_kill_9(tmp_path: Path) -> None:
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
