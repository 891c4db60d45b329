"""What the agent holds: its registrations, a key and an SVID for each, and the trust bundle. State without I/O.

Keys are made by whoever calls; they live here, in memory, and nowhere else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from ca.bundle import TrustBundle
from ca.keys import PrivateKey
from ca.node_protocol import Authorized, Entry
from ca.rotation import Lifetime, renew_at


@dataclass(frozen=True, slots=True)
class Held:
    """An SVID with its key: `chain` is DER, leaf first; `renew_at` spreads renewals."""

    entry: Entry
    key: PrivateKey = field(repr=False)
    chain: tuple[bytes, ...]
    not_after: datetime
    renew_at: datetime


class Holdings:
    """`changed` events are set at every change; each waiter brings its own."""

    def __init__(self) -> None:
        self.entries: tuple[Entry, ...] = ()
        self.bundle: TrustBundle | None = None
        self.held: dict[str, Held] = {}
        self.version = 0
        self._waiters: set[asyncio.Event] = set()

    @property
    def is_initialised(self) -> bool:
        """Has the server said what this agent may hold?"""
        return self.bundle is not None

    def authorize(self, message: Authorized) -> None:
        """The complete truth: what is no longer registered is dropped at once."""
        self.entries, self.bundle = message.entries, message.bundle
        names = {e.name: e for e in message.entries}
        self.held = {
            n: Held(names[n], h.key, h.chain, h.not_after, h.renew_at)
            for n, h in self.held.items()
            if n in names and names[n].spiffe_id == h.entry.spiffe_id
        }
        self._announce()

    def store(
        self, entry: Entry, key: PrivateKey, chain: tuple[bytes, ...], life: Lifetime, jitter: float
    ) -> None:
        self.held[entry.name] = Held(entry, key, chain, life.not_after, renew_at(life, jitter))
        self._announce()

    def to_sign(self, now: datetime) -> list[Entry]:
        """Registrations without an SVID, or with one past its time, or with another lifetime's."""
        return [e for e in self.entries if e.name not in self.held or now >= self.held[e.name].renew_at]

    def next_renewal(self) -> datetime | None:
        return min((h.renew_at for h in self.held.values()), default=None)

    def of(self, selectors: frozenset[str]) -> list[Held]:
        """The identities of a process with these selectors, in a stable order."""
        return [
            self.held[e.name]
            for e in self.entries
            if e.name in self.held and e.selectors and selectors.issuperset(e.selectors)
        ]

    def knows(self, selectors: frozenset[str]) -> bool:
        """Is such a process registered, with or without an SVID yet?"""
        return any(e.selectors and selectors.issuperset(e.selectors) for e in self.entries)

    def wait(self, event: asyncio.Event) -> None:
        self._waiters.add(event)

    def stop_waiting(self, event: asyncio.Event) -> None:
        self._waiters.discard(event)

    def _announce(self) -> None:
        self.version += 1
        for event in self._waiters:
            event.set()
