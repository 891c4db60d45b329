"""What each proxy was told and what it said to that: the truth behind `pylis proxy status`.

State without I/O; times come in as arguments. A proxy that went away is remembered, with when it was last seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from xds.snapshot import Snapshot


class State(StrEnum):
    SYNCED = "synced"
    PENDING = "pending"
    NACKED = "nacked"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """`revision` is the mesh's, `synced_revision` what the proxy is known to hold."""

    node_id: str
    identity: str
    state: State
    since: datetime
    revision: int
    synced_revision: int
    config_bytes: int
    svid_expires: datetime | None
    note: str


@dataclass(slots=True)
class _Record:
    identity: str
    connected: bool
    since: datetime
    svid_expires: datetime | None
    snapshot: Snapshot = field(default_factory=Snapshot)
    held: int = 0  # the revision it was last known to hold, where it is not in sync
    settled: bool = False
    nacks: dict[str, str] = field(default_factory=dict[str, str])  # type → the proxy's words
    streams: int = 0

    @property
    def in_sync(self) -> bool:
        return self.connected and self.settled and not self.nacks


class Ledger:
    """One record a node; several streams of one node (a reconnect that overlaps) count as one proxy.

    A revision is the whole mesh's: a proxy in sync holds the newest, whether or not the last edit concerned it.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._records: dict[str, _Record] = {}
        self._connected: set[str] = set()
        self._behind: set[str] = set()  # of the connected, those not in sync

    def advance(self, revision: int, affected: Iterable[str]) -> None:
        """The mesh is at `revision` from now on; `affected` have not been offered it yet."""
        for node_id in affected:
            if (record := self._records.get(node_id)) is not None:
                self._fall_behind(record)
                self._file(node_id, record)
        self.revision = max(self.revision, revision)

    def connected(self, node_id: str, identity: str, svid_expires: datetime | None, now: datetime) -> None:
        record = self._records.setdefault(node_id, _Record(identity, True, now, svid_expires))
        record.identity, record.connected, record.since = identity, True, now
        record.svid_expires = svid_expires
        record.streams += 1
        self._file(node_id, record)

    def disconnected(self, node_id: str, now: datetime) -> None:
        record = self._records[node_id]
        record.streams -= 1
        if record.streams == 0:
            self._fall_behind(record)
            record.connected, record.since = False, now
        self._file(node_id, record)

    def offered(self, node_id: str, revision: int, snapshot: Snapshot) -> None:
        record = self._records[node_id]
        self._fall_behind(record)
        record.snapshot = snapshot
        self.revision = max(self.revision, revision)
        self._file(node_id, record)

    def acked(self, node_id: str, type_url: str) -> None:
        record = self._records[node_id]
        if record.nacks.pop(type_url, None) is not None:
            self._file(node_id, record)

    def nacked(self, node_id: str, type_url: str, message: str, now: datetime) -> None:
        record = self._records[node_id]
        self._fall_behind(record)
        record.nacks[type_url] = message
        record.since = now
        self._file(node_id, record)

    def settled(self, node_id: str, refused: Mapping[str, tuple[str, ...]]) -> None:
        """The proxy holds, or has refused, all it was offered."""
        record = self._records[node_id]
        if record.nacks:
            record.nacks = {t: m for t, m in record.nacks.items() if t in refused}
        elif record.settled:
            return
        record.settled = True
        self._file(node_id, record)

    def synced_revision(self, node_id: str) -> int | None:
        """What the proxy is known to hold; None when it never connected. Costs nothing: ask as often as you like."""
        record = self._records.get(node_id)
        return None if record is None else self._synced(record)

    def told(self, node_id: str) -> Snapshot:
        """What the proxy was offered last; empty for one that never connected."""
        record = self._records.get(node_id)
        return Snapshot() if record is None else record.snapshot

    def refusals(self, node_id: str) -> Mapping[str, str]:
        """Type → the proxy's words, where it refuses what it was offered."""
        record = self._records.get(node_id)
        return {} if record is None else dict(record.nacks)

    @property
    def connected_count(self) -> int:
        return len(self._connected)

    def behind(self, revision: int) -> list[tuple[str, bool]]:
        """Connected proxies that do not hold a mesh that new, and whether they refuse something; sorted.

        What it costs grows with those only: every edit may ask.
        """
        found = ((node_id, self._records[node_id]) for node_id in self._behind)
        return sorted((node_id, bool(r.nacks)) for node_id, r in found if r.held < revision)

    def _file(self, node_id: str, record: _Record) -> None:
        (self._connected.add if record.connected else self._connected.discard)(node_id)
        late = record.connected and not record.in_sync
        (self._behind.add if late else self._behind.discard)(node_id)

    def _fall_behind(self, record: _Record) -> None:
        if record.in_sync:
            record.held = self.revision
        record.settled = False

    def _synced(self, record: _Record) -> int:
        return self.revision if record.in_sync else record.held

    def forget(self, node_id: str) -> None:
        """For a workload that is no longer registered."""
        if node_id in self._records and not self._records[node_id].connected:
            del self._records[node_id]

    def status(self) -> list[ProxyStatus]:
        """Sorted by node."""
        return [self._status(node_id, self._records[node_id]) for node_id in sorted(self._records)]

    def _status(self, node_id: str, r: _Record) -> ProxyStatus:
        if not r.connected:
            state, note = State.LOST, f"keeps serving {r.held}"
        elif r.nacks:
            state, note = State.NACKED, "; ".join(f"{_short(t)}: {m}" for t, m in sorted(r.nacks.items()))
        else:
            state, note = (State.SYNCED if r.settled else State.PENDING), "; ".join(r.snapshot.notes)
        return ProxyStatus(
            node_id,
            r.identity,
            state,
            r.since,
            self.revision,
            self._synced(r),
            r.snapshot.size_bytes,
            r.svid_expires,
            note,
        )


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
