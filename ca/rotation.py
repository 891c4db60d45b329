"""When authorities change, as a table: the issuing authority of today, the one prepared, those that are old.

    state      event                  next       what is done
    (none)     start                  active     make root and issuing authority
    active     half of life is over   old        a new issuing authority becomes active under the same root
    old        expired                (gone)     its key is forgotten; leaves never outlive it

Leaves chain to the root whatever issuing authority signed them, so a change breaks no connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Lifetime:
    not_before: datetime
    not_after: datetime

    @property
    def half(self) -> datetime:
        return self.not_before + (self.not_after - self.not_before) / 2


def must_replace(lifetime: Lifetime, now: datetime) -> bool:
    """Is the issuing authority past half of its life, or not valid yet because a clock jumped?"""
    return now >= lifetime.half or now < lifetime.not_before


def until_replacement(lifetime: Lifetime, now: datetime) -> timedelta:
    """Never negative."""
    return max(lifetime.half - now, timedelta(0))


def renew_at(lifetime: Lifetime, jitter: float) -> datetime:
    """When a leaf is renewed: at half of its life, spread by `jitter` (0..1) over a tenth of it."""
    life = lifetime.not_after - lifetime.not_before
    return lifetime.not_before + life * (0.45 + 0.1 * jitter)
