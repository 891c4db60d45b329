"""When authorities change, as a table. X.509 and JWT authorities follow it separately.

An authority is in the trust bundle from `prepared` on, and signs while `active`. What it signed stays valid
while it is `old` or `tainted`; tainted, all of it is replaced at once. Leaves never outlive their authority.
Source: SPIFFE_Federation §4.1 (keys are published before they sign); the words are SPIRE's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final


class Family(StrEnum):
    X509 = "x509"
    JWT = "jwt"


class Status(StrEnum):
    PREPARED = "prepared"
    ACTIVE = "active"
    OLD = "old"
    TAINTED = "tainted"
    REVOKED = "revoked"


class Event(StrEnum):
    ACTIVATE = "activate"
    SUPERSEDE = "supersede"  # another was activated
    TAINT = "taint"
    REVOKE = "revoke"
    RETIRE = "retire"  # nothing it signed is valid any more, or it never signed


# (status, event) → next; what is not here cannot happen
TRANSITIONS: Final[Mapping[tuple[Status, Event], Status]] = {
    (Status.PREPARED, Event.ACTIVATE): Status.ACTIVE,
    (Status.PREPARED, Event.RETIRE): Status.REVOKED,
    (Status.ACTIVE, Event.SUPERSEDE): Status.OLD,
    (Status.OLD, Event.TAINT): Status.TAINTED,
    (Status.OLD, Event.RETIRE): Status.REVOKED,
    (Status.TAINTED, Event.REVOKE): Status.REVOKED,
    (Status.TAINTED, Event.RETIRE): Status.REVOKED,
}
# in which status an authority must be for a command; for people's eyes
WANTED: Final[Mapping[Event, Status]] = {
    Event.ACTIVATE: Status.PREPARED,
    Event.TAINT: Status.OLD,
    Event.REVOKE: Status.TAINTED,
}
LONGEST_PREPARATION: Final = timedelta(days=30)
LONGEST_ACTIVATION: Final = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Lifetime:
    not_before: datetime
    not_after: datetime

    @property
    def length(self) -> timedelta:
        return self.not_after - self.not_before

    @property
    def half(self) -> datetime:
        return self.not_before + self.length / 2

    @property
    def prepare_at(self) -> datetime:
        """When its successor is made: half of the life before its end, 30 days at most."""
        return self.not_after - min(self.length / 2, LONGEST_PREPARATION)

    @property
    def activate_at(self) -> datetime:
        """When its successor signs: a sixth of the life before its end, 7 days at most."""
        return self.not_after - min(self.length / 6, LONGEST_ACTIVATION)

    @property
    def insist_at(self) -> datetime:
        """When its successor signs whoever has not acknowledged it: the other choice is to sign no more."""
        return self.not_after - min(self.length / 12, LONGEST_ACTIVATION / 2)


def must_replace(lifetime: Lifetime, now: datetime) -> bool:
    """Is an issuing authority past half of its life, or not valid yet because a clock jumped?"""
    return now >= lifetime.half or now < lifetime.not_before


def renew_at(lifetime: Lifetime, jitter: float) -> datetime:
    """When a leaf is renewed: at half of its life, spread by `jitter` (0..1) over a tenth of it."""
    return lifetime.not_before + lifetime.length * (0.45 + 0.1 * jitter)
