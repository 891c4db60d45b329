"""What a write means, once for all stores: writes against the records of a moment → events and audit records. Pure.

A store collects the writes that wait, reads the records they name, asks a `Batch`, and persists its outcome in one
transaction: many writers share one sync to disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.audit import AuditRecord, Entry, Head, chain
from controlplane.store.port import (
    AlreadyExistsError,
    Change,
    ConflictError,
    Event,
    Key,
    NotFoundError,
    Record,
    StoreError,
)


@dataclass(frozen=True, slots=True)
class Create:
    key: Key
    text: str
    audit: Entry | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    key: Key
    text: str
    expected: int | None = None
    audit: Entry | None = None
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    key: Key
    expected: int | None = None
    audit: Entry | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """Audit entries that come with no change."""

    entries: tuple[Entry, ...]


Write = Create | Replace | Delete | Note


@dataclass(slots=True)
class Batch:
    """The store's state at the start; `apply` moves it on, write by write."""

    revision: int
    head: Head
    records: Mapping[Key, Record]
    time: str
    events: list[Event] = field(default_factory=list[Event])
    audit: list[AuditRecord] = field(default_factory=list[AuditRecord])
    _changed: dict[Key, Record | None] = field(default_factory=dict[Key, Record | None])

    def apply(self, write: Write) -> Record | None:
        """The record after the write (DELETED: the last); None for a note. Raises: StoreError."""
        match write:
            case Note(entries):
                for entry in entries:
                    self._note(entry)
                return None
            case Create(key, text, audit):
                if self._now(key) is not None:
                    raise AlreadyExistsError(f"{key} already exists")
                revision = self.revision + 1
                return self._change(Change.ADDED, Record(key, text, revision, revision), audit)
            case Replace(key, text, expected, audit, minor):
                old = self._expect(key, expected)
                if old.text == text:
                    return old
                record = Record(key, text, old.created, self.revision + 1)
                return self._change(Change.MODIFIED, record, audit, minor=minor)
            case Delete(key, expected, audit):
                old = self._expect(key, expected)
                record = Record(key, old.text, old.created, self.revision + 1)
                return self._change(Change.DELETED, record, audit)

    def outcome(self, write: Write) -> Record | StoreError | None:
        """As `apply`, the error as a value."""
        try:
            return self.apply(write)
        except StoreError as error:
            return error

    @property
    def changed(self) -> Mapping[Key, Record | None]:
        """What is different now; None: gone."""
        return self._changed

    def _now(self, key: Key) -> Record | None:
        return self._changed[key] if key in self._changed else self.records.get(key)

    def _expect(self, key: Key, expected: int | None) -> Record:
        old = self._now(key)
        if old is None:
            raise NotFoundError(f"{key} does not exist")
        if expected is not None and expected != old.revision:
            raise ConflictError(f"{key} changed: it is at {old.revision}, not {expected}")
        return old

    def _change(self, change: Change, record: Record, audit: Entry | None, *, minor: bool = False) -> Record:
        self.revision = record.revision
        author = audit.who if audit else ""
        self.events.append(Event(change, record, minor, self.time, author))
        self._changed[record.key] = None if change is Change.DELETED else record
        if audit is not None:
            self._note(audit)
        return record

    def _note(self, entry: Entry) -> None:
        record = chain(self.head, entry, time=self.time, revision=self.revision)
        self.head = record.head
        self.audit.append(record)
