"""The store of several servers: one PostgreSQL, by asyncpg. Every server writes; all see one order.

The row `counter` is locked for the length of a write's transaction, so revisions become visible in their order and
without gaps. `NOTIFY` only says "look": each server reads what it has not seen by revision, after every notice, every
reconnect, and now and then. Reads go to the database: what another server acknowledged is seen by the next read.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import asyncpg
import structlog

from controlplane import audit as chain
from controlplane.audit import AuditRecord, Entry, Fault, Head
from controlplane.store.clock import utc_now
from controlplane.store.committer import Committer, Outcome
from controlplane.store.envelope_key import EnvelopeKey
from controlplane.store.event_log import KEPT, EventLog
from controlplane.store.port import (
    Change,
    Event,
    FullError,
    Key,
    NotFoundError,
    Record,
    UnavailableError,
    UnusableError,
    Value,
    encode,
)
from controlplane.store.schema import LATEST, NewerSchemaError, steps
from controlplane.store.statements import DATA_KEY, EVENT, OBJECT, PAGE, POSTGRESQL, REVISION
from controlplane.store.transaction import Batch, Create, Delete, Note, Replace, Write
from controlplane.store.vault import Vault

CHANNEL: Final = "pylis"
LOOK_SECONDS: Final = 5.0  # between looks that nothing asked for
CONNECT_SECONDS: Final = 10.0
COMMAND_SECONDS: Final = 15.0
LEADER_LOCK: Final = 0x70796C6973  # "pylis"
MIGRATION_LOCK: Final = LEADER_LOCK + 1
EXCLUSIVE_LOCK: Final = LEADER_LOCK + 2
SERVERS_LOCK: Final = 0x70796C69  # the first of two numbers; the second is the server's own
_LOST: Final = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.CannotConnectNowError,
                asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, asyncpg.InternalClientError, TimeoutError)  # fmt: skip
log = structlog.get_logger()


class PostgresStore:
    """Make it with `open`."""

    def __init__(
        self,
        dsn: str,
        pool: Any,
        vault: Vault,
        log_: EventLog,
        clock: Callable[[], str],
        *,
        follow: bool = True,
    ) -> None:
        self._dsn = dsn
        self._pool = pool
        self._vault = vault
        self._log = log_
        self._clock = clock
        self._leading = False
        self._number = secrets.randbits(31)
        self._look = asyncio.Event()
        self._committer = Committer(self._persist)
        self._listener = asyncio.create_task(self._listen()) if follow else None

    @classmethod
    async def open(
        cls, dsn: str, outer: EnvelopeKey, clock: Callable[[], str] = utc_now, *, follow: bool = True
    ) -> Self:
        """`outer`: the envelope key all servers share; not to `follow`: to read and write only, without watches.

        Raises: UnusableError.
        """
        pool: Any = None
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=8,
                timeout=CONNECT_SECONDS,
                command_timeout=COMMAND_SECONDS,
                reset=_leave_as_it_is,
            )
            async with pool.acquire() as db:
                await migrate(db)
                vault = await _vault(db, outer)
                revision = await db.fetchval(REVISION)
                rows = await db.fetch(POSTGRESQL.latest_events, -1, KEPT)
        except UnusableError:
            pool.terminate()
            raise
        except (*_LOST, asyncpg.PostgresError, NewerSchemaError, ValueError) as error:
            if pool is not None:
                pool.terminate()
            raise UnusableError(
                f"cannot use this PostgreSQL as store: {error}; check --store and its rights"
            ) from error
        events = [_event(vault, row) for row in reversed(rows)]
        return cls(dsn, pool, vault, EventLog(revision, events), clock, follow=follow)

    @property
    def revision(self) -> int:
        """What this server has seen; the database may be ahead by what was written a moment ago."""
        return self._log.revision

    @property
    def leading(self) -> bool:
        return self._leading

    @property
    def server(self) -> str:
        return str(self._number)

    async def servers(self) -> frozenset[str]:
        """Each holds a lock of its own number as long as it hears of changes."""
        query = """SELECT objid::bigint FROM pg_locks WHERE locktype='advisory' AND classid::bigint=$1 AND objsubid=2
                   AND granted AND database=(SELECT oid FROM pg_database WHERE datname=current_database())"""
        async with self._connection() as db:
            rows = await db.fetch(query, SERVERS_LOCK)
        return frozenset(str(row[0]) for row in rows)

    async def get(self, key: Key) -> Record | None:
        query = f"SELECT {OBJECT} FROM objects WHERE resource=$1 AND namespace=$2 AND name=$3"  # noqa: S608
        async with self._connection() as db:
            row = await db.fetchrow(query, key.resource, key.namespace, key.name)
        return _record(self._vault, row) if row else None

    async def list(self, resource: str, namespace: str | None = None) -> tuple[list[Record], int]:
        query = f"""SELECT {OBJECT} FROM objects WHERE resource=$1 AND ($2::text IS NULL OR namespace=$2)
                    ORDER BY namespace COLLATE "C", name COLLATE "C" """  # noqa: S608
        async with self._connection() as db, db.transaction(isolation="repeatable_read", readonly=True):
            revision = await db.fetchval(REVISION)
            rows = await db.fetch(query, resource, namespace)
        return [_record(self._vault, row) for row in rows], revision

    async def count(self, resource: str, namespace: str | None = None) -> int:
        query = "SELECT count(*) FROM objects WHERE resource=$1 AND ($2::text IS NULL OR namespace=$2)"
        async with self._connection() as db:
            return await db.fetchval(query, resource, namespace)

    async def create(self, key: Key, value: Value, *, audit: Entry | None = None) -> Record:
        return await self._committer.write(Create(key, encode(value), audit))

    async def replace(
        self,
        key: Key,
        value: Value,
        expected: int | None = None,
        *,
        audit: Entry | None = None,
        minor: bool = False,
    ) -> Record:
        return await self._committer.write(Replace(key, encode(value), expected, audit, minor))

    async def delete(self, key: Key, expected: int | None = None, *, audit: Entry | None = None) -> Record:
        return await self._committer.write(Delete(key, expected, audit))

    async def take(self, key: Key) -> Record | None:
        try:
            return await self.delete(key)
        except NotFoundError:
            return None

    def watch(self, after: int) -> AsyncIterator[Event]:
        return self._log.watch(after)

    def changes(self, after: int) -> Sequence[Event]:
        return self._log.after(after)

    async def wait(self, after: int) -> None:
        await self._log.wait(after)

    async def history(self, key: Key) -> list[Event]:
        async with self._connection() as db:
            rows = await db.fetch(POSTGRESQL.history, key.resource, key.namespace, key.name)
        return [_event(self._vault, row) for row in rows]

    async def compact(self) -> None:
        async with self._connection() as db:
            revision = await db.fetchval(REVISION)
            await db.execute(POSTGRESQL.compact, revision - KEPT)

    async def check(self) -> None:
        async with self._connection() as db:
            await db.fetchval(REVISION)

    async def record(self, *entries: Entry) -> None:
        await self._committer.note(Note(entries))

    async def audit_records(self, after: int = 0, limit: int = 1000) -> list[AuditRecord]:
        async with self._connection() as db:
            rows = await db.fetch(POSTGRESQL.audit_after, after, limit)
        return [chain.decode(row["line"]) for row in rows]

    async def audit_head(self) -> Head:
        async with self._connection() as db:
            return _head(await db.fetchrow("SELECT * FROM counter"))

    async def verify_audit(self) -> tuple[Head, list[Fault]]:
        head, faults, after = Head(), list[Fault](), 0
        async with self._connection() as db, db.transaction(isolation="repeatable_read", readonly=True):
            noted = await db.fetchrow("SELECT * FROM counter")
            while rows := await db.fetch(POSTGRESQL.audit_rows, after, PAGE):
                head, found = chain.verify((row["line"] for row in rows), head)
                faults += found
                after += len(rows)
        stored = _head(noted)
        if stored != Head() and not chain.seal_holds(self._vault.audit_key, stored, noted["audit_seal"]):
            faults.append(Fault(stored.sequence, "the seal of the head does not hold: the log was rewritten"))
        return head, faults + chain.against(head, stored)

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None]:
        """One server at a time is in this block. The lock goes with its connection, however the block ends."""
        try:
            async with _connected(self._dsn) as db:
                await db.execute("SELECT pg_advisory_lock($1)", EXCLUSIVE_LOCK)
                yield
        except _LOST as error:
            raise UnavailableError(f"PostgreSQL cannot be reached: {type(error).__name__}") from error

    @asynccontextmanager
    async def still(self) -> AsyncGenerator[None]:
        """This server has no write under way: the event loop may be held up without holding up the others."""
        async with self._committer.still():
            yield

    async def close(self) -> None:
        await self._committer.close()
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
        try:
            async with asyncio.timeout(5):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Any]:
        """Raises: UnavailableError for whatever keeps the database from answering."""
        try:
            async with self._pool.acquire(timeout=CONNECT_SECONDS) as db:
                yield db
        except _LOST as error:
            raise UnavailableError(f"PostgreSQL cannot be reached: {type(error).__name__}") from error
        except asyncpg.PostgresError as error:
            log.warning("store.refused", error=str(error))
            if isinstance(error, asyncpg.DiskFullError):
                raise FullError("the database's disk is full") from error
            raise UnavailableError(f"PostgreSQL refused: {type(error).__name__}") from error

    async def _persist(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """One transaction for all. If its end is not heard of, nobody knows: the callers are told so."""
        keys = [w.key for w in writes if not isinstance(w, Note)]
        async with self._connection() as db, db.transaction():
            row = await db.fetchrow("SELECT * FROM counter FOR UPDATE")
            records = await self._read(db, keys)
            batch = Batch(row["revision"], _head(row), records, self._clock())
            outcomes = [batch.outcome(write) for write in writes]
            if batch.events or batch.audit:
                await self._write(db, batch)
        self._learn(batch)
        return outcomes

    async def _read(self, db: Any, keys: Sequence[Key]) -> dict[Key, Record]:
        if not keys:
            return {}
        query = f"""SELECT {OBJECT} FROM objects WHERE (resource, namespace, name) IN
                    (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))"""  # noqa: S608
        rows = await db.fetch(query, *_columns([(k.resource, k.namespace, k.name) for k in keys]))
        found = [_record(self._vault, row) for row in rows]
        return {record.key: record for record in found}

    async def _write(self, db: Any, batch: Batch) -> None:
        kept = [r for r in batch.changed.values() if r is not None]
        gone = [k for k, r in batch.changed.items() if r is None]
        if gone:
            query = """DELETE FROM objects WHERE (resource, namespace, name) IN
                       (SELECT * FROM unnest($1::text[], $2::text[], $3::text[]))"""
            await db.execute(query, *_columns([(k.resource, k.namespace, k.name) for k in gone]))
        if kept:
            query = f"""INSERT INTO objects ({OBJECT})
                        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[])
                        ON CONFLICT (resource, namespace, name) DO UPDATE
                        SET value=excluded.value, created=excluded.created, revision=excluded.revision"""  # noqa: S608
            await db.execute(query, *_columns([self._row(r) for r in kept]))
        if batch.events:
            query = f"""INSERT INTO events ({EVENT}) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[],
                        $5::text[], $6::bigint[], $7::bigint[], $8::smallint[], $9::text[], $10::text[])"""  # noqa: S608
            rows = [
                (str(e.change), *self._row(e.record), int(e.minor), e.time, e.author) for e in batch.events
            ]
            await db.execute(query, *_columns(rows))
        if batch.audit:
            query = "INSERT INTO audit SELECT * FROM unnest($1::bigint[], $2::text[])"
            await db.execute(query, *_columns([(r.sequence, r.line()) for r in batch.audit]))
        seal = chain.seal(self._vault.audit_key, batch.head)
        query = """WITH told AS (SELECT pg_notify($5, $1::bigint::text))
                   UPDATE counter SET revision=$1, audit_sequence=$2, audit_hash=$3, audit_seal=$4 FROM told"""
        await db.execute(query, batch.revision, batch.head.sequence, batch.head.hash, seal, CHANNEL)

    def _row(self, record: Record) -> tuple[str, str, str, str, int, int]:
        key = record.key
        text = self._vault.seal(key, record.text)
        return key.resource, key.namespace, key.name, text, record.created, record.revision

    def _learn(self, batch: Batch) -> None:
        """Our own changes, if nothing of another server's lies between."""
        if batch.events and batch.events[0].record.revision == self._log.revision + 1:
            self._log.append(*batch.events)
        else:
            self._look.set()

    async def _listen(self) -> None:
        """Until cancelled: hears of changes, reads them in order, and holds the leader's lock if it can."""
        pause = 0.05
        while True:
            try:
                async with _connected(self._dsn) as db:
                    db.add_termination_listener(self._cut)
                    await db.add_listener(CHANNEL, self._heard)
                    pause = 0.05
                    await self._follow(db)
            except (*_LOST, asyncpg.PostgresError) as error:
                log.warning("store.disconnected", error=f"{type(error).__name__}: {error}")
            finally:
                self._leading = False
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    async def _follow(self, db: Any) -> None:
        present = False
        while True:
            self._look.clear()
            await self._catch_up(db)
            if not present:  # a session of before the last reconnect may hold it for a moment more
                present = await db.fetchval("SELECT pg_try_advisory_lock($1, $2)", SERVERS_LOCK, self._number)
            if not self._leading:
                self._leading = await db.fetchval("SELECT pg_try_advisory_lock($1)", LEADER_LOCK)
                if self._leading:
                    log.info("store.leading")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def _catch_up(self, db: Any) -> None:
        while True:
            seen = self._log.revision
            rows = await db.fetch(POSTGRESQL.next_events, seen, PAGE)
            if self._log.revision != seen:
                continue  # our own write came in between
            if not rows:
                revision = await db.fetchval(REVISION)
                if revision < seen:
                    self._log.restart(revision)  # a backup was restored
                return
            if rows[0]["revision"] != seen + 1:
                # compacted while we were away: nobody here can go on from what they saw
                self._log.restart(rows[0]["revision"] - 1)
            self._log.append(*(_event(self._vault, row) for row in rows))

    def _cut(self, _: object) -> None:
        """The lock went with the connection."""
        self._leading = False
        self._look.set()

    def _heard(self, *_: object) -> None:
        self._look.set()


async def _leave_as_it_is(_: Any) -> None:
    """Nothing here changes a pooled connection's settings: cleaning one up would be a round trip a query."""


async def migrate(db: Any, to: int = LATEST) -> None:
    """One server at a time. Raises: NewerSchemaError."""
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        await db.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        at = await db.fetchval("SELECT coalesce(max(version), 0) FROM schema_version")
        for version, script in steps(at, to, "postgresql"):
            await db.execute(script)
            await db.execute("DELETE FROM schema_version")
            await db.execute("INSERT INTO schema_version VALUES ($1)", version)


async def _vault(db: Any, outer: EnvelopeKey) -> Vault:
    """Raises: UnusableError for a wrong envelope key."""
    made, wrapped = Vault.create(outer)
    query = "INSERT INTO meta VALUES ('data_key', $1) ON CONFLICT DO NOTHING RETURNING value"
    if await db.fetchval(query, wrapped) is not None:
        return made
    return Vault.open(outer, await db.fetchval(DATA_KEY))


@asynccontextmanager
async def _connected(dsn: str) -> AsyncGenerator[Any]:
    db = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS, command_timeout=COMMAND_SECONDS)
    try:
        yield db
    finally:
        try:
            async with asyncio.timeout(2):
                await db.close()
        except (*_LOST, asyncpg.PostgresError):
            db.terminate()


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _head(row: Any) -> Head:
    return Head(row["audit_sequence"], row["audit_hash"])


def _record(vault: Vault, row: Any) -> Record:
    key = Key(row["resource"], row["namespace"], row["name"])
    return Record(key, vault.unseal(key, row["value"]), row["created"], row["revision"])


def _event(vault: Vault, row: Any) -> Event:
    return Event(Change(row["change"]), _record(vault, row), bool(row["minor"]), row["time"], row["author"])
