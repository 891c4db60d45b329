"""What the kernel says of a process → selectors, in SPIRE's words: unix:uid:1000, unix:path:/usr/bin/x."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """`path` is the executable's, "" when it cannot be read; `user` and `group` "" when they have no name."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    path: str = ""
    user: str = ""
    group: str = ""


def selectors(facts: ProcessFacts) -> frozenset[str]:
    found = {f"unix:uid:{facts.uid}", f"unix:gid:{facts.gid}"}
    found |= {f"unix:supplementary_gid:{gid}" for gid in facts.groups}
    found |= {f"unix:{key}:{text}" for key, text in _named(facts) if text}
    return frozenset(found)


def _named(facts: ProcessFacts) -> tuple[tuple[str, str], ...]:
    return ("path", facts.path), ("user", facts.user), ("group", facts.group)
