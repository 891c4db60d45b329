"""The audit log without I/O: what an entry holds, how entries are chained, how a chain is checked.

    hash(n) = SHA-256( hash(n-1), a line feed, canonical JSON of record n without its hash )

A record that was changed, removed, added or moved breaks the chain at its place. A chain that was rewritten
whole, or cut at its end, is found by the seal of its head (an HMAC by a key outside the store) or by a head
that somebody noted. Who may write the log and where it is kept belongs to the stores.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

GENESIS: Final = "0" * 64
_BEFORE_HASH: Final = ("decision", "detail")
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


class Decision(StrEnum):
    ALLOW = "allow"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was done or refused.

    `verb` is Kubernetes' (create, update, patch, delete, …) or the field's own (issue, attest, revoke, login);
    `who` the caller's name or SPIFFE ID, `source` its address; `detail` any JSON: a diff, selectors, a serial.
    Never put a secret into it.
    """

    verb: str
    who: str
    decision: Decision = Decision.ALLOW
    resource: str = ""
    namespace: str = ""
    name: str = ""
    source: str = ""
    request_id: str = ""
    reason: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Head:
    """The last record's place and hash."""

    sequence: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """`time` is RFC 3339 in UTC; `revision` the store's after the change, 0 for what changed no object."""

    sequence: int
    time: str
    revision: int
    entry: Entry
    hash: str
    _line: str = field(default="", repr=False, compare=False)

    def line(self) -> str:
        """Canonical JSON, hash included: what is stored and exported."""
        return self._line or _canonical(
            {**_content(self.sequence, self.time, self.revision, self.entry), "hash": self.hash}
        )

    @property
    def head(self) -> Head:
        return Head(self.sequence, self.hash)


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a chain does not hold, and why."""

    sequence: int
    reason: str


def chain(head: Head, entry: Entry, *, time: str, revision: int = 0) -> AuditRecord:
    """The record that follows `head`."""
    sequence = head.sequence + 1
    content = _content(sequence, time, revision, entry)
    # keys are sorted: the hash has its place between these two parts, so that they are written once
    before = _canonical({name: content.pop(name) for name in _BEFORE_HASH})[:-1]
    after = _canonical(content)[1:]
    hash_ = _hash(head.hash, f"{before},{after}")
    return AuditRecord(sequence, time, revision, entry, hash_, f'{before},"hash":"{hash_}",{after}')


def verify(lines: Iterable[str], start: Head = Head()) -> tuple[Head, list[Fault]]:
    """Follows a chain of stored lines from `start`; after a fault it goes on from what is there."""
    faults: list[Fault] = []
    head = start
    for line in lines:
        found = _read(line)
        if found is None:
            faults.append(Fault(head.sequence + 1, "is no audit record"))
            head = Head(head.sequence + 1, head.hash)
            continue
        sequence, hash_, content = found
        if sequence != head.sequence + 1:
            faults.append(Fault(sequence, f"follows {head.sequence}: records are missing or out of order"))
        elif not hmac.compare_digest(_hash(head.hash, content), hash_):
            faults.append(Fault(sequence, "was changed, or the one before it was"))
        head = Head(sequence, hash_)
    return head, faults


def against(head: Head, noted: Head) -> list[Fault]:
    """Is the chain that ends in `head` the one whose end was noted? Raises nothing: faults are values."""
    if head == noted:
        return []
    if head.sequence < noted.sequence:
        return [Fault(head.sequence, f"is the last record, {noted.sequence} was: the end was cut off")]
    return [Fault(noted.sequence, "has another hash than noted: the log was rewritten")]


def seal(key: bytes, head: Head) -> str:
    """What only the holder of `key` can make."""
    return hmac.new(key, f"{head.sequence}:{head.hash}".encode(), hashlib.sha256).hexdigest()


def seal_holds(key: bytes, head: Head, found: str) -> bool:
    return hmac.compare_digest(seal(key, head), found)


def decode(line: str) -> AuditRecord:
    """A line that `AuditRecord.line` wrote. Raises: ValueError, KeyError, TypeError for any other."""
    value = json.loads(line)
    entry = Entry(
        value["verb"], value["who"], Decision(value["decision"]), value["resource"], value["namespace"], value["name"],
        value["source"], value["requestId"], value["reason"], value["detail"],
    )  # fmt: skip
    return AuditRecord(value["sequence"], value["time"], value["revision"], entry, value["hash"])


def syslog(record: AuditRecord, host: str) -> str:
    """RFC 5424: facility 13 (log audit), severity notice for what was done, warning for what was refused."""
    entry = record.entry
    priority = 13 * 8 + (5 if entry.decision is Decision.ALLOW else 4)
    parameters = {
        "sequence": str(record.sequence), "hash": record.hash, "who": entry.who, "decision": str(entry.decision),
        "resource": entry.resource, "namespace": entry.namespace, "name": entry.name, "source": entry.source,
        "requestId": entry.request_id, "revision": str(record.revision),
    }  # fmt: skip
    data = " ".join(f'{name}="{_escaped(value)}"' for name, value in parameters.items() if value)
    text = _canonical({"reason": entry.reason, "detail": dict(entry.detail)})
    message_id = "".join(c for c in entry.verb if "!" <= c <= "~")[:32] or "-"
    return f"<{priority}>1 {record.time} {host or '-'} pylis - {message_id} [audit@32473 {data}] \ufeff{text}"


def _content(sequence: int, time: str, revision: int, entry: Entry) -> dict[str, Any]:
    return {
        "sequence": sequence, "time": time, "revision": revision, "verb": entry.verb, "who": entry.who,
        "decision": str(entry.decision), "resource": entry.resource, "namespace": entry.namespace, "name": entry.name,
        "source": entry.source, "requestId": entry.request_id, "reason": entry.reason, "detail": dict(entry.detail),
    }  # fmt: skip


def _read(line: str) -> tuple[int, str, str] | None:
    """Sequence, hash, and the canonical JSON without the hash."""
    try:
        value = json.loads(line)
        hash_, sequence = value.pop("hash"), value["sequence"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not isinstance(hash_, str) or not isinstance(sequence, int):
        return None
    return sequence, hash_, _canonical(value)


def _hash(previous: str, content: str) -> str:
    return hashlib.sha256(f"{previous}\n{content}".encode()).hexdigest()


def _canonical(value: Any) -> str:
    return _ENCODER.encode(value)


def _escaped(value: str) -> str:
    """RFC 5424, section 6.3.3."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
