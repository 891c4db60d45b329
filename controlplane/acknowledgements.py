"""Which agents have said that a bundle is in force for everything they serve, and which may not know it. No I/O.

An agent counts from its first connection until its certificate has expired, connected or not: what it started
may still be talking. After a restart every agent that is `known` counts, until it connects again, or until any
certificate of before has expired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from ca.profile import LEAF_TTL


@dataclass(slots=True)
class _Agent:
    sequence: int
    until: datetime


class Acknowledgements:
    def __init__(self, now: Callable[[], datetime], known: Callable[[], Iterable[str]] = tuple) -> None:
        self._now = now
        self._known = known
        self._agents: dict[str, _Agent] = {}
        self._before = now() + LEAF_TTL

    def holds(self, agent: str, until: datetime) -> None:
        """The agent has a certificate that is valid so long."""
        known = self._agents.setdefault(agent, _Agent(0, until))
        known.until = max(known.until, until)

    def acknowledged(self, agent: str, sequence: int) -> None:
        known = self._agents.get(agent)
        if known is not None:
            known.sequence = max(known.sequence, sequence)

    def gone(self, agent: str) -> None:
        """It was banned or evicted: nobody waits for it."""
        self._agents.pop(agent, None)

    def behind(self, sequence: int) -> tuple[str, ...]:
        """The agents that have not acknowledged a bundle with this sequence number or a later one, sorted."""
        now = self._now()
        names = {name for name, a in self._agents.items() if a.until > now and a.sequence < sequence}
        if now < self._before:
            names |= set(self._known()) - set(self._agents)
        return tuple(sorted(names))
