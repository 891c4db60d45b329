"""What the agent holds: registrations, a key and an SVID for each, the trust bundle. State without I/O.

Keys are made by whoever calls; they live here, in memory, and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from ca.bundle import TrustBundle
from ca.issue import signers
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
    signers: frozenset[str] = frozenset()


@dataclass(eq=False, slots=True)
class Follower:
    """One that is told of every bundle and says when it believes it: `sequence` of the last one it does."""

    sequence: int = 0


class Holdings:
    """`changed` events are set at every change; each waiter brings its own."""

    def __init__(self) -> None:
        self.entries: tuple[Entry, ...] = ()
        self.bundle: TrustBundle | None = None
        self.held: dict[str, Held] = {}
        self.tainted: frozenset[str] = frozenset()
        self.federated: dict[str, TrustBundle] = {}  # by trust domain's name
        self.cut_off: frozenset[str] = frozenset()  # SPIFFE IDs whose tokens are refused
        self.version = 0
        self.settled = asyncio.Event()  # something may be in force now that was not
        self._followers: set[Follower] = set()
        self._waiters: set[asyncio.Event] = set()

    @property
    def is_initialised(self) -> bool:
        """Has the server said what this agent may hold?"""
        return self.bundle is not None

    def authorize(self, message: Authorized) -> None:
        """The complete truth: what is no longer registered is dropped at once."""
        self.entries, self.bundle = message.entries, message.bundle
        self.tainted = frozenset(message.tainted)
        self.federated = {one.trust_domain.name: one for one in message.federated}
        self.cut_off = frozenset(message.cut_off)
        wanted = {e.name: e for e in message.entries}
        self.held = {
            name: _as_now(held, wanted[name], self.tainted)
            for name, held in self.held.items()
            if name in wanted and wanted[name].spiffe_id == held.entry.spiffe_id
        }
        self.announce()

    def surrender(self) -> None:
        """This agent may hold nothing any more: what it serves ends now."""
        self.entries, self.held = (), {}
        self.announce()

    def store(
        self, entry: Entry, key: PrivateKey, chain: tuple[bytes, ...], life: Lifetime, jitter: float
    ) -> None:
        """`entry` as it was when asked for; an SVID that is wanted no more, or as another, is dropped."""
        now = next((e for e in self.entries if e.name == entry.name), None)
        if now is not None and now.spiffe_id == entry.spiffe_id:
            held = Held(entry, key, chain, life.not_after, renew_at(life, jitter), signers(chain))
            self.held[entry.name] = _as_now(held, now, self.tainted)
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

    def federated_of(self, held: Iterable[Held]) -> list[TrustBundle]:
        """The foreign bundles that these identities' registrations federate with, sorted, each one once."""
        names = {name for one in held for name in one.entry.federates_with}
        return [self.federated[name] for name in sorted(names) if name in self.federated]

    def selectors(self) -> set[str]:
        """Every selector that a registration looks at."""
        return {selector for entry in self.entries for selector in entry.selectors}

    def knows(self, selectors: frozenset[str]) -> bool:
        """Is such a process registered, with or without an SVID yet?"""
        return any(e.selectors and selectors.issuperset(e.selectors) for e in self.entries)

    def follow(self) -> Follower:
        """For one who says what it believes; `forget` it when it ends."""
        follower = Follower()
        self._followers.add(follower)
        return follower

    def forget(self, follower: Follower) -> None:
        self._followers.discard(follower)
        self.settled.set()

    def believes(self, follower: Follower, sequence: int) -> None:
        if follower.sequence != sequence:
            follower.sequence = sequence
            self.settled.set()

    @property
    def in_force(self) -> int:
        """The sequence of the bundle that every follower believes; 0 when there is none such.

        0, too, while something is served that a tainted authority signed.
        """
        if self.bundle is None or any(held.signers & self.tainted for held in self.held.values()):
            return 0
        believed = all(follower.sequence >= self.bundle.sequence for follower in self._followers)
        return self.bundle.sequence if believed else 0

    def wait(self, event: asyncio.Event) -> None:
        self._waiters.add(event)

    def stop_waiting(self, event: asyncio.Event) -> None:
        self._waiters.discard(event)

    def announce(self) -> None:
        """Wakes every waiter."""
        self.version += 1
        self.settled.set()
        for event in self._waiters:
            event.set()


def _as_now(held: Held, entry: Entry, tainted: frozenset[str]) -> Held:
    """The SVID under its registration of now; if that asks for another, or who signed it is not to be believed
    for long, it is used until another is there."""
    same = (held.entry.ttl_seconds, held.entry.dns_names) == (entry.ttl_seconds, entry.dns_names)
    stays = same and not held.signers & tainted
    renew_at_ = held.renew_at if stays else AT_ONCE
    return (
        held
        if (held.entry, held.renew_at) == (entry, renew_at_)
        else replace(held, entry=entry, renew_at=renew_at_)
    )
