"""The default store: one SQLite file, WAL, synchronous=FULL; one thread owns the connection.

A write is acknowledged when SQLite has synced it. Events are kept in the file, so a watch survives a restart.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self, TypeVar

from controlplane.store.event_log import KEPT, EventLog
from controlplane.store.port import (
    AlreadyExistsError,
    Change,
    ConflictError,
    Event,
    Key,
    NotFoundError,
    Record,
    UnusableError,
    Value,
)

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL, created INTEGER NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE events (
    revision INTEGER PRIMARY KEY, change TEXT NOT NULL,
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL, created INTEGER NOT NULL
);
CREATE TABLE counter (revision INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
"""
_Result = TypeVar("_Result")


class SqliteStore:
    """Make it with `open`."""

    def __init__(self, connection: sqlite3.Connection, thread: ThreadPoolExecutor, log: EventLog) -> None:
        self._db = connection
        self._thread = thread
        self._log = log

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Raises: UnusableError."""
        thread = ThreadPoolExecutor(1, "sqlite")
        try:
            connection, revision, events = await asyncio.get_running_loop().run_in_executor(
                thread, _open, path
            )
        except (sqlite3.Error, OSError) as error:
            thread.shutdown()
            raise UnusableError(
                f"cannot use {path} as store: {error}; check the directory and its rights"
            ) from error
        return cls(connection, thread, EventLog(revision, events))

    @property
    def revision(self) -> int:
        return self._log.revision

    async def get(self, key: Key) -> Record | None:
        return await self._run(lambda: _get(self._db, key))

    async def list(self, resource: str, namespace: str | None = None) -> tuple[list[Record], int]:
        return await self._run(lambda: _list(self._db, resource, namespace))

    async def create(self, key: Key, value: Value) -> Record:
        def work(revision: int) -> Event:
            if _get(self._db, key) is not None:
                raise AlreadyExistsError(f"{key} already exists")
            return Event(Change.ADDED, Record(key, value, revision, revision))

        return (await self._write(work)).record

    async def replace(self, key: Key, value: Value, expected: int | None = None) -> Record:
        old = await self._run(lambda: _expect(self._db, key, expected))
        if old.value == value:
            return old

        def work(revision: int) -> Event:
            current = _expect(self._db, key, expected)
            return Event(Change.MODIFIED, Record(key, value, current.created, revision))

        return (await self._write(work)).record

    async def delete(self, key: Key, expected: int | None = None) -> Record:
        def work(revision: int) -> Event:
            old = _expect(self._db, key, expected)
            return Event(Change.DELETED, Record(key, old.value, old.created, revision))

        return (await self._write(work)).record

    async def take(self, key: Key) -> Record | None:
        try:
            return await self.delete(key)
        except NotFoundError:
            return None

    def watch(self, after: int) -> AsyncIterator[Event]:
        return self._log.watch(after)

    async def close(self) -> None:
        await self._run(self._db.close)
        self._thread.shutdown()

    async def _write(self, work: Callable[[int], Event]) -> Event:
        """The event is announced here, on the loop, in the order the thread committed."""
        loop = asyncio.get_running_loop()

        def transaction() -> Event:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                (revision,) = self._db.execute(
                    "UPDATE counter SET revision = revision + 1 RETURNING revision"
                ).fetchone()
                event = work(revision)
                _apply(self._db, event)
            loop.call_soon_threadsafe(self._log.append, event)
            return event

        return await self._run(transaction)

    async def _run(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _open(path: Path) -> tuple[sqlite3.Connection, int, list[Event]]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"it has schema version {version}, this Pylis knows {_VERSION}")
    (revision,) = db.execute("SELECT revision FROM counter").fetchone()
    rows = db.execute(
        "SELECT change, resource, namespace, name, value, created, revision FROM events ORDER BY revision DESC LIMIT ?",
        (KEPT,),
    ).fetchall()
    events = [Event(Change(row[0]), _record(row[1:])) for row in reversed(rows)]
    return db, revision, events


def _apply(db: sqlite3.Connection, event: Event) -> None:
    record = event.record
    key, value = record.key, json.dumps(record.value, separators=(",", ":"))
    place = (key.resource, key.namespace, key.name)
    if event.change is Change.DELETED:
        db.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", place)
    else:
        row = (*place, value, record.created, record.revision)
        db.execute("INSERT OR REPLACE INTO objects VALUES (?,?,?,?,?,?)", row)
    row = (record.revision, str(event.change), *place, value, record.created)
    db.execute("INSERT INTO events VALUES (?,?,?,?,?,?,?)", row)
    db.execute("DELETE FROM events WHERE revision <= ?", (record.revision - KEPT,))


def _get(db: sqlite3.Connection, key: Key) -> Record | None:
    row = db.execute(
        "SELECT resource, namespace, name, value, created, revision FROM objects"
        " WHERE resource=? AND namespace=? AND name=?",
        (key.resource, key.namespace, key.name),
    ).fetchone()
    return _record(row) if row else None


def _list(db: sqlite3.Connection, resource: str, namespace: str | None) -> tuple[list[Record], int]:
    rows = db.execute(
        "SELECT resource, namespace, name, value, created, revision FROM objects"
        " WHERE resource=?1 AND (?2 IS NULL OR namespace=?2) ORDER BY namespace, name",
        (resource, namespace),
    ).fetchall()
    (revision,) = db.execute("SELECT revision FROM counter").fetchone()
    return [_record(row) for row in rows], revision


def _expect(db: sqlite3.Connection, key: Key, expected: int | None) -> Record:
    old = _get(db, key)
    if old is None:
        raise NotFoundError(f"{key} does not exist")
    if expected is not None and expected != old.revision:
        raise ConflictError(f"{key} changed: it is at {old.revision}, not {expected}")
    return old


def _record(row: tuple[str, str, str, str, int, int]) -> Record:
    resource, namespace, name, value, created, revision = row
    return Record(Key(resource, namespace, name), json.loads(value), created, revision)
