"""What a database adds: several servers, one order; and that it may go away."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from controlplane.store.port import (
    AlreadyExistsError,
    ConflictError,
    Key,
    Store,
    UnavailableError,
    UnusableError,
)
from controlplane.store.postgres import PostgresStore, migrate
from controlplane.store.schema import LATEST
from tests.contract.changes import A, an_entry, events, until
from tests.contract.database import KEY


async def test_everything_survives_and_is_shared(database: str) -> None:
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


async def test_concurrent_writers_of_two_servers_make_one_order(database: str) -> None:
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


async def test_one_server_leads_and_another_takes_over(database: str) -> None:
    one = await PostgresStore.open(database, KEY)
    await until(lambda: one.leading)
    other = await PostgresStore.open(database, KEY)
    await other.create(A, {})
    assert not other.leading
    await one.close()
    await until(lambda: other.leading)
    await other.close()


async def test_cut_connections_come_back_and_nothing_is_missed(database: str) -> None:
    cut, other = await PostgresStore.open(database, KEY), await PostgresStore.open(database, KEY)
    await until(lambda: cut.leading or other.leading)
    db = await asyncpg.connect(database)
    query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname=current_database() AND pid<>pg_backend_pid()"
    for n in range(10):
        await db.execute(query)
        await _written(other, Key("t", "", f"n{n}"))
    told = await events(cut, 0, 10)
    assert [e.record.key.name for e in told] == [f"n{n}" for n in range(10)]
    await until(lambda: cut.leading != other.leading)
    query = "SELECT count(*) FROM pg_locks WHERE locktype='advisory' AND objsubid=1 AND granted"  # 2: a server's own
    assert await db.fetchval(query) <= 1
    await db.close()
    await cut.close()
    await other.close()


async def test_secrets_are_sealed_and_another_key_opens_nothing(database: str) -> None:
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


async def test_tampering_is_found(database: str) -> None:
    store = await PostgresStore.open(database, KEY)
    await store.record(*(an_entry(f"n{n}") for n in range(4)))
    db = await asyncpg.connect(database)
    await db.execute("DELETE FROM audit WHERE sequence=4")
    assert "cut off" in (await store.verify_audit())[1][0].reason
    await db.execute("DELETE FROM audit WHERE sequence=2")
    assert (await store.verify_audit())[1][0].sequence == 3
    await db.close()
    await store.close()


async def test_migrations_go_forward_and_back(database: str) -> None:
    db = await asyncpg.connect(database)
    for version in (LATEST, 1, LATEST, 0, LATEST):
        await migrate(db, version)
    await db.execute("UPDATE schema_version SET version=99")
    await db.close()
    with pytest.raises(UnusableError, match="version 99"):
        await PostgresStore.open(database, KEY)


async def test_no_database_is_said_in_words() -> None:
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
