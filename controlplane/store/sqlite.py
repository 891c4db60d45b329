"""The default store: one SQLite file, WAL, synchronous=FULL; one thread owns the connection, one process the file.

A write is acknowledged when SQLite has synced it. All records are in memory too, so reads ask no disk; events and
the audit log are kept in the file, so watches, history and the chain survive a restart.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final, Self, TypeVar

import structlog

from controlplane import audit as chain
from controlplane.audit import AuditRecord, Entry, Fault, Head
from controlplane.store import vault as vaults
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
from controlplane.store.resident import Resident
from controlplane.store.schema import migrate_sqlite
from controlplane.store.statements import DATA_KEY, EVENT, OBJECT, PAGE, REVISION, SQLITE
from controlplane.store.transaction import Batch, Create, Delete, Note, Replace, Write
from controlplane.store.vault import Vault

_Result = TypeVar("_Result")
log = structlog.get_logger()
_ROWS: Final = 64  # in one statement
RESTORED_AHEAD: Final = 1_000_000  # how far above a backup's revisions go on


class SqliteStore:
    """Make it with `open`."""

    def __init__(self, file: _File, clock: Callable[[], str]) -> None:
        self._file = file
        self._clock = clock
        self._thread = file.thread
        self._resident = Resident(file.records)
        self._log = EventLog(file.revision, file.events)
        self._head = file.head
        file.records, file.events = [], []
        self._committer = Committer(self._persist)

    @classmethod
    async def open(
        cls, path: Path, outer: EnvelopeKey | None = None, clock: Callable[[], str] = utc_now
    ) -> Self:
        """`outer`: the envelope key; None: the one in the file beside it. Raises: UnusableError."""
        thread = ThreadPoolExecutor(1, "sqlite")
        try:
            file = await asyncio.get_running_loop().run_in_executor(thread, _File, path, outer, thread)
        except UnusableError:
            thread.shutdown()
            raise
        except (sqlite3.Error, OSError) as error:
            thread.shutdown()
            raise UnusableError(
                f"cannot use {path} as store: {error}; check the directory and its rights"
            ) from error
        return cls(file, clock)

    @property
    def revision(self) -> int:
        return self._log.revision

    @property
    def leading(self) -> bool:
        return True

    @property
    def server(self) -> str:
        return ""

    async def servers(self) -> frozenset[str]:
        return frozenset({""})

    async def get(self, key: Key) -> Record | None:
        return self._resident.records.get(key)

    async def list(self, resource: str, namespace: str | None = None) -> tuple[list[Record], int]:
        return self._resident.list(resource, namespace), self.revision

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

    async def count(self, resource: str, namespace: str | None = None) -> int:
        return self._resident.count(resource, namespace)

    async def history(self, key: Key) -> list[Event]:
        return await self._run(lambda: self._file.history(key))

    async def compact(self) -> None:
        await self._run(self._file.compact)

    async def check(self) -> None:
        await self._run(self._file.check)

    async def record(self, *entries: Entry) -> None:
        await self._committer.note(Note(entries))

    async def audit_records(self, after: int = 0, limit: int = 1000) -> list[AuditRecord]:
        lines = await self._run(lambda: self._file.audit_lines(after, limit))
        return [chain.decode(line) for line in lines]

    async def audit_head(self) -> Head:
        return self._head

    async def verify_audit(self) -> tuple[Head, list[Fault]]:
        head, faults, after = Head(), list[Fault](), 0
        while lines := await self._run(lambda after=after: self._file.audit_lines(after, PAGE, by_row=True)):
            head, found = chain.verify(lines, head)
            faults += found
            after += len(lines)
        return head, faults + await self._run(lambda: self._file.check_seal(head))

    async def backup(self, path: Path) -> None:
        """A consistent copy while writes go on. Raises: UnavailableError."""
        await self._run(lambda: self._file.backup(path))

    async def close(self) -> None:
        await self._committer.close()
        await self._run(self._file.close)
        self._thread.shutdown()

    async def _persist(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        batch = Batch(self.revision, self._head, self._resident.records, self._clock())
        outcomes = [batch.outcome(write) for write in writes]
        if batch.events or batch.audit:
            await self._run(lambda: self._file.persist(batch))
        self._head = batch.head
        self._resident.take_over(batch.changed)
        if batch.events:
            self._log.append(*batch.events)
        return outcomes

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            log.warning("store.refused", error=str(error))
            # an error of the module's own has no code
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise FullError("the disk is full") from error
            raise UnavailableError(f"the store cannot be used: {error}") from error


class _File:
    """The connection and what was read at the start; every method runs on the store's one thread."""

    def __init__(self, path: Path, outer: EnvelopeKey | None, thread: ThreadPoolExecutor) -> None:
        self.thread = thread
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self._lock = _own(path)
        try:
            self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
            try:
                self._start(path, outer)
            except BaseException:
                self.db.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def _start(self, path: Path, outer: EnvelopeKey | None) -> None:
        self.db.execute("PRAGMA journal_mode=WAL")
        self.db.execute("PRAGMA synchronous=FULL")
        migrate_sqlite(self.db)
        (found,) = self.db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(f"it is damaged ({found}); restore a backup: pylis restore")
        outer = outer or vaults.outer_key(path.with_name("envelope.key"))
        row = self.db.execute(DATA_KEY).fetchone()
        if row is None:
            self.vault, wrapped = Vault.create(outer)
            self.db.execute("INSERT INTO meta VALUES ('data_key', ?)", (wrapped,))
        else:
            self.vault = Vault.open(outer, row[0])
        self.revision, sequence, hash_ = self.db.execute(
            "SELECT revision, audit_sequence, audit_hash FROM counter"
        ).fetchone()
        self.head = Head(sequence, hash_)
        rows = self.db.execute(f"SELECT {OBJECT} FROM objects")  # noqa: S608 - a constant
        self.records = [self._record(row) for row in rows]
        # nobody may go on watching from before a restored backup
        floor = self.db.execute("SELECT value FROM meta WHERE name='floor'").fetchone()
        rows = self.db.execute(SQLITE.latest_events, (int(floor[0]) if floor else 0, KEPT))
        self.events = [self._event(row) for row in rows][::-1]

    def persist(self, batch: Batch) -> None:
        rows = [(event, self._row(event.record)) for event in batch.events]
        last = {event.record.key: (event.change, row) for event, row in rows}
        gone = [row[:3] for change, row in last.values() if change is Change.DELETED]
        kept = [row for change, row in last.values() if change is not Change.DELETED]
        events = [(str(e.change), *row, int(e.minor), e.time, e.author) for e, row in rows]
        seal = chain.seal(self.vault.audit_key, batch.head)
        with self.db:
            self.db.execute("BEGIN IMMEDIATE")
            if gone:
                self.db.executemany("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", gone)
            self._insert("REPLACE INTO objects", kept)
            self._insert(f"INSERT INTO events ({EVENT})", events)
            self._insert("INSERT INTO audit", [(r.sequence, r.line()) for r in batch.audit])
            self.db.execute(
                "UPDATE counter SET revision=?, audit_sequence=?, audit_hash=?, audit_seal=?",
                (batch.revision, batch.head.sequence, batch.head.hash, seal),
            )

    def _insert(self, into: str, rows: Sequence[tuple[str | int, ...]]) -> None:
        """In few statements, of 64, 32, … rows: after each this thread waits for the interpreter, which while the loop
        is busy takes a millisecond (measured: 13 ms of a commit of seven edits that uses 1.4).
        """
        while rows:
            count = 1 << min(len(rows), _ROWS).bit_length() - 1
            some, rows = rows[:count], rows[count:]
            row = f"({','.join('?' * len(some[0]))})"
            self.db.execute(f"{into} VALUES {','.join([row] * count)}", [v for one in some for v in one])

    def history(self, key: Key) -> list[Event]:
        found = self.db.execute(SQLITE.history, (key.resource, key.namespace, key.name))
        return [self._event(row) for row in found]

    def compact(self) -> None:
        (revision,) = self.db.execute(REVISION).fetchone()
        self.db.execute(SQLITE.compact, (revision - KEPT,))

    def check(self) -> None:
        self.db.execute(REVISION).fetchone()

    def audit_lines(self, after: int, limit: int, *, by_row: bool = False) -> list[str]:
        """`by_row`: from the row after `after` rows, whatever the sequences say."""
        query = SQLITE.audit_rows if by_row else SQLITE.audit_after
        return [row[0] for row in self.db.execute(query, (after, limit))]

    def check_seal(self, head: Head) -> list[Fault]:
        sequence, hash_, seal = self.db.execute(
            "SELECT audit_sequence, audit_hash, audit_seal FROM counter"
        ).fetchone()
        noted = Head(sequence, hash_)
        if noted != Head() and not chain.seal_holds(self.vault.audit_key, noted, seal):
            return [Fault(sequence, "the seal of the head does not hold: the log was rewritten")]
        return chain.against(head, noted)

    def backup(self, path: Path) -> None:
        path.touch(mode=0o600)
        copy = sqlite3.connect(path)
        try:
            self.db.backup(copy)
        finally:
            copy.close()

    def close(self) -> None:
        self.db.close()
        os.close(self._lock)

    def _row(self, record: Record) -> tuple[str, str, str, str, int, int]:
        key = record.key
        text = self.vault.seal(key, record.text)
        return key.resource, key.namespace, key.name, text, record.created, record.revision

    def _record(self, row: tuple[str, str, str, str, int, int]) -> Record:
        resource, namespace, name, text, created, revision = row
        key = Key(resource, namespace, name)
        return Record(key, self.vault.unseal(key, text), created, revision)

    def _event(self, row: tuple[str, str, str, str, str, int, int, int, str, str]) -> Event:
        return Event(Change(row[0]), self._record(row[1:7]), bool(row[7]), row[8], row[9])


async def restored(backup: Path, path: Path, outer: EnvelopeKey | None = None) -> tuple[Path | None, int]:
    """Puts a backup in a store's place; where the old one is kept, and the revision. Raises: UnusableError."""

    def work() -> tuple[Path | None, int]:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _own(path)
        try:
            fresh = path.with_name(f"{path.name}.restoring")
            fresh.unlink(missing_ok=True)
            fresh.touch(mode=0o600)
            with closing(sqlite3.connect(backup)) as source, closing(sqlite3.connect(fresh)) as copy:
                source.backup(copy)
            with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
                migrate_sqlite(db)
                (found,) = db.execute("PRAGMA integrity_check(1)").fetchone()
                if found != "ok":
                    raise sqlite3.DatabaseError(f"the backup is damaged ({found})")
                wrapped = db.execute(DATA_KEY).fetchone()
                if wrapped is not None:
                    Vault.open(outer or vaults.outer_key(path.with_name("envelope.key")), wrapped[0])
                db.execute("UPDATE counter SET revision = revision + ?", (RESTORED_AHEAD,))
                (revision,) = db.execute(REVISION).fetchone()
                db.execute("INSERT OR REPLACE INTO meta VALUES ('floor', ?)", (str(revision),))
            kept = path.with_name(f"{path.name}.before-{revision}") if path.exists() else None
            if kept is not None:
                path.rename(kept)
            for name in (f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            fresh.rename(path)
        finally:
            os.close(lock)
        return kept, revision

    try:
        return await asyncio.to_thread(work)
    except (sqlite3.Error, OSError) as error:
        raise UnusableError(f"cannot restore {backup}: {error}") from error


def _own(path: Path) -> int:
    """Two servers on one file would not see each other's writes. Raises: UnusableError."""
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        text = f"{path} is in use by another server; several servers share a PostgreSQL"
        raise UnusableError(f"{text}: --store postgresql://…") from None
    return lock
