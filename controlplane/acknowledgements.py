"""Which agents have said that a bundle is in force for everything they serve, and which may not know it. No I/O.

An agent counts from its first connection until its certificate has expired, connected or not: what it started
may still be talking. After a restart every agent that is `known` counts, until it connects again, or until any
certificate of before has expired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ca.profile import LEAF_TTL


@dataclass(frozen=True, slots=True)
class Counted:
    """An agent: the newest bundle it has acknowledged, and until when it counts."""

    sequence: int
    until: datetime


def _nobody_asks() -> None:
    pass


class Acknowledgements:
    def __init__(self, now: Callable[[], datetime], known: Callable[[], Iterable[str]] = tuple) -> None:
        self._now = now
        self._known = known
        self._agents: dict[str, Counted] = {}
        self.changed: Callable[[], None] = _nobody_asks  # set by who tells others
        self._before = now() + LEAF_TTL

    def holds(self, agent: str, until: datetime) -> None:
        """The agent has a certificate that is valid so long."""
        known = self._agents.get(agent, Counted(0, until))
        self._agents[agent] = Counted(known.sequence, max(known.until, until))
        self.changed()

    def acknowledged(self, agent: str, sequence: int) -> None:
        known = self._agents.get(agent)
        if known is not None:
            self._agents[agent] = Counted(max(known.sequence, sequence), known.until)
            self.changed()

    def gone(self, agent: str) -> None:
        """It was banned or evicted: nobody waits for it."""
        self._agents.pop(agent, None)
        self.changed()

    @property
    def counted(self) -> Mapping[str, Counted]:
        """Those that count, by name; some may not any more."""
        return self._agents

    def behind(self, sequence: int) -> tuple[str, ...]:
        """The agents that have not acknowledged a bundle with this sequence number or a later one, sorted."""
        now = self._now()
        names = {name for name, a in self._agents.items() if a.until > now and a.sequence < sequence}
        if now < self._before:
            names |= set(self._known()) - set(self._agents)
        return tuple(sorted(names))
