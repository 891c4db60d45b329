"""Is a history of operations on versioned objects linearizable? Per object, by the versions the server gave.

An object's versions are a total order, so the question is not a search: each operation must be at its version, and
an operation that began after another one ended must not be at an older version. A write whose answer was lost may
have happened or not; it is known by its value when somebody reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Did(StrEnum):
    WRITE = "write"
    READ = "read"
    LOST = "lost"  # a write that was not answered


@dataclass(frozen=True, slots=True)
class Operation:
    """`began` and `ended` by one clock; `version` 0 and `ended` infinite for LOST."""

    key: str
    did: Did
    value: str
    version: int
    began: float
    ended: float


def faults(history: Iterable[Operation]) -> list[str]:
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        by_key.setdefault(operation.key, []).append(operation)
    return [f"{key}: {text}" for key, found in by_key.items() for text in _of_one(found)]


def _of_one(history: Sequence[Operation]) -> list[str]:
    found: list[str] = []
    written: dict[int, str] = {}
    lost = {o.value for o in history if o.did is Did.LOST}
    for operation in (o for o in history if o.did is Did.WRITE):
        if operation.version in written:
            found.append(
                f"version {operation.version} was given to {operation.value} and {written[operation.version]}"
            )
        written[operation.version] = operation.value
    for operation in (o for o in history if o.did is Did.READ):
        wrote = written.get(operation.version)
        if wrote is None and operation.value not in lost:
            found.append(f"read {operation.value} at {operation.version}, which nobody wrote")
        elif wrote is not None and wrote != operation.value:
            found.append(f"read {operation.value} at {operation.version}, where {wrote} was written")
    answered = [o for o in history if o.did is not Did.LOST]
    ended = sorted(answered, key=lambda o: o.ended)
    newest, index = 0, 0
    for operation in sorted(answered, key=lambda o: o.began):
        while index < len(ended) and ended[index].ended < operation.began:
            newest = max(newest, ended[index].version)
            index += 1
        stale = operation.version < newest if operation.did is Did.READ else operation.version <= newest
        if stale:
            found.append(
                f"{operation.did} {operation.value} is at {operation.version} after {newest} was known"
            )
    return found
