"""The store's port: objects by (resource, namespace, name), one revision that grows with every change, a watch.

    StoreError
    ├── AlreadyExistsError
    ├── NotFoundError
    ├── ConflictError      the object changed since the caller read it
    ├── GoneError          that revision is too old to be watched from: list again
    ├── UnavailableError   the store cannot be reached or written now; the write may or may not have happened
    │   └── FullError      its disk is full: nothing was written, reads go on
    └── UnusableError      the store's files cannot be used; the message says what to do

An acknowledged write is durable, and so is the audit entry that came with it: both or neither.
A write that changes nothing raises no revision, makes no event and no audit record.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, Self

from controlplane.audit import AuditRecord, Entry, Fault, Head

Value = dict[str, Any]  # a JSON object; treated as immutable once stored


class StoreError(Exception):
    """The root of this folder's errors."""


class AlreadyExistsError(StoreError):
    pass


class NotFoundError(StoreError):
    pass


class ConflictError(StoreError):
    pass


class GoneError(StoreError):
    pass


class UnavailableError(StoreError):
    pass


class FullError(UnavailableError):
    pass


class UnusableError(StoreError):
    pass


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """`resource` is `plural.group`; `namespace` "" for what has none."""

    resource: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.resource, self.namespace, self.name) if part)


def encode(value: Value) -> str:
    """The text a value is kept as; the order of fields is kept."""
    return json.dumps(value, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Record:
    """`text` is the value's JSON; `created` and `revision` are store revisions: of creation and last change."""

    key: Key
    text: str
    created: int
    revision: int

    @classmethod
    def of(cls, key: Key, value: Value, created: int, revision: int) -> Self:
        return cls(key, encode(value), created, revision)

    @property
    def value(self) -> Value:
        """A fresh object at each call: keep it if you read it twice."""
        return json.loads(self.text)


class Change(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """`record` holds the last value for DELETED, with the revision of the deletion.

    `before` is the record that was replaced, None when that is not known (any more); `minor` marks what history
    need not show (a change of status only); `time` (RFC 3339) and `author` say when and who.
    """

    change: Change
    record: Record
    minor: bool = False
    time: str = ""
    author: str = ""
    before: Record | None = field(default=None, compare=False, repr=False)


class AuditLog(Protocol):
    """Append-only and hash-chained; what `controlplane.audit` says of a record."""

    async def record(self, *entries: Entry) -> None:
        """Durable when it returns. Raises: UnavailableError."""
        ...

    async def audit_records(self, after: int = 0, limit: int = 1000) -> list[AuditRecord]:
        """Those with a sequence greater than `after`, in order."""
        ...

    async def audit_head(self) -> Head: ...

    async def verify_audit(self) -> tuple[Head, list[Fault]]:
        """The whole chain as it is stored, and the seal of its head."""
        ...


class Store(AuditLog, Protocol):
    async def get(self, key: Key) -> Record | None: ...

    async def list(self, resource: str, namespace: str | None = None) -> tuple[list[Record], int]:
        """Sorted by key, and the revision the list is true at. `namespace` None: all."""
        ...

    async def create(self, key: Key, value: Value, *, audit: Entry | None = None) -> Record:
        """Raises: AlreadyExistsError."""
        ...

    async def replace(
        self,
        key: Key,
        value: Value,
        expected: int | None = None,
        *,
        audit: Entry | None = None,
        minor: bool = False,
    ) -> Record:
        """`expected`: the revision the caller read. Raises: NotFoundError, ConflictError."""
        ...

    async def delete(self, key: Key, expected: int | None = None, *, audit: Entry | None = None) -> Record:
        """Raises: NotFoundError, ConflictError."""
        ...

    async def take(self, key: Key) -> Record | None:
        """Deletes and returns in one step: of many callers exactly one gets the record."""
        ...

    def watch(self, after: int) -> AsyncIterator[Event]:
        """Every change after a revision, in order, without end. Raises: GoneError."""
        ...

    def changes(self, after: int) -> Sequence[Event]:
        """What `watch` would tell at once, without waiting. Raises: GoneError."""
        ...

    async def wait(self, after: int) -> None:
        """Returns once there are changes after a revision, or watches must look again."""
        ...

    async def count(self, resource: str, namespace: str | None = None) -> int: ...

    async def history(self, key: Key) -> list[Event]:
        """The kept changes of one name, oldest first, without minor ones."""
        ...

    async def compact(self) -> None:
        """Drops changes older than what history and watches promise. For the leader, now and then."""
        ...

    @property
    def revision(self) -> int: ...

    @property
    def leading(self) -> bool:
        """Is this the one server that does what must be done once (rotation, clean-up)?"""
        ...

    @property
    def server(self) -> str:
        """This server's name among those that use the store; "" where there is only one."""
        ...

    async def servers(self) -> frozenset[str]:
        """Those that are connected to the store now. Raises: UnavailableError."""
        ...

    async def check(self) -> None:
        """Raises: UnavailableError when reads or writes cannot be served now."""
        ...

    async def close(self) -> None: ...
