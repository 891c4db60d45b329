"""The store's port: objects by (resource, namespace, name), one revision that grows with every change, a watch.

    StoreError
    ├── AlreadyExistsError
    ├── NotFoundError
    ├── ConflictError      the object changed since the caller read it
    ├── GoneError          that revision is too old to be watched from: list again
    └── UnusableError      the store's files cannot be used; the message says what to do

An acknowledged write is durable. A write that changes nothing raises no revision and makes no event.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

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


@dataclass(frozen=True, slots=True)
class Record:
    """`created` and `revision` are store revisions: of its creation and of its last change."""

    key: Key
    value: Value
    created: int
    revision: int


class Change(StrEnum):
    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """`record` holds the last value for DELETED, with the revision of the deletion."""

    change: Change
    record: Record


class Store(Protocol):
    async def get(self, key: Key) -> Record | None: ...

    async def list(self, resource: str, namespace: str | None = None) -> tuple[list[Record], int]:
        """Sorted by key, and the revision the list is true at. `namespace` None: all."""
        ...

    async def create(self, key: Key, value: Value) -> Record:
        """Raises: AlreadyExistsError."""
        ...

    async def replace(self, key: Key, value: Value, expected: int | None = None) -> Record:
        """`expected`: the revision the caller read. Raises: NotFoundError, ConflictError."""
        ...

    async def delete(self, key: Key, expected: int | None = None) -> Record:
        """Raises: NotFoundError, ConflictError."""
        ...

    async def take(self, key: Key) -> Record | None:
        """Deletes and returns in one step: of many callers exactly one gets the record."""
        ...

    def watch(self, after: int) -> AsyncIterator[Event]:
        """Every change after a revision, in order, without end. Raises: GoneError."""
        ...

    @property
    def revision(self) -> int: ...

    async def close(self) -> None: ...
