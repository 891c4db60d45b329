"""What is known of one foreign trust domain, and what a new answer makes of it. Pure.

The last good bundle stays whatever fails; an answer with an older sequence number changes nothing; an empty
bundle is an answer: it revokes everything of that trust domain.
Source: SPIFFE_Federation §4.1, §4.2, §6
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from ca.bundle import REFRESH_HINT, TrustBundle

SHORTEST: Final = timedelta(seconds=10)  # whatever the other side hints
LONGEST: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Relation:
    """`fetched`: when `bundle` last came from its endpoint; `error` of the last attempt, "" when it succeeded."""

    bundle: TrustBundle | None = None
    fetched: datetime | None = None
    error: str = ""

    @property
    def interval(self) -> timedelta:
        """Until the next attempt, after a failure too: no hurry then."""
        hint = timedelta(seconds=min(self.bundle.refresh_hint if self.bundle else REFRESH_HINT, 10**6))
        return min(max(hint, SHORTEST), LONGEST)

    def answered(self, found: TrustBundle, now: datetime) -> Relation:
        if self.bundle is not None and 0 < found.sequence < self.bundle.sequence:
            text = f"bundle {found.sequence} is older than {self.bundle.sequence}, which is kept"
            return replace(self, error=text)
        return Relation(found, now)

    def failed(self, error: str) -> Relation:
        return replace(self, error=error)
