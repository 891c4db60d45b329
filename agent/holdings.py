"""What the agent holds: registrations, a key and an SVID for each, the trust bundle. State without I/O.

Keys are made by whoever calls; they live here, in memory, and nowhere else.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from ca.bundle import TrustBundle
from ca.keys import PrivateKey
from ca.node_protocol import Authorized, Entry
from ca.rotation import Lifetime, renew_at

AT_ONCE: Final = datetime.min.replace(tzinfo=UTC)


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
        wanted = {e.name: e for e in message.entries}
        self.held = {
            name: _as_now(held, wanted[name])
            for name, held in self.held.items()
            if name in wanted and wanted[name].spiffe_id == held.entry.spiffe_id
        }
        self.announce()

    def store(
        self, entry: Entry, key: PrivateKey, chain: tuple[bytes, ...], life: Lifetime, jitter: float
    ) -> None:
        """`entry` as it was when asked for; an SVID that is wanted no more, or as another, is dropped."""
        now = next((e for e in self.entries if e.name == entry.name), None)
        if now is not None and now.spiffe_id == entry.spiffe_id:
            held = Held(entry, key, chain, life.not_after, renew_at(life, jitter))
            self.held[entry.name] = _as_now(held, now)
            self.announce()

    def schedule(self) -> dict[str, datetime]:
        """When each registration's next SVID is due, by name."""
        return {e.name: self.held[e.name].renew_at if e.name in self.held else AT_ONCE for e in self.entries}

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

    def announce(self) -> None:
        """Wakes every waiter."""
        self.version += 1
        for event in self._waiters:
            event.set()


def _as_now(held: Held, entry: Entry) -> Held:
    """The SVID under its registration of now; if that asks for another, it is used until that is there."""
    same = (held.entry.ttl_seconds, held.entry.dns_names) == (entry.ttl_seconds, entry.dns_names)
    return replace(held, entry=entry, renew_at=held.renew_at if same else AT_ONCE)
