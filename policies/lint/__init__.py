"""Lint: what is valid and probably not meant. Each finding has a code of its own (PYL13xx) and a severity.

`written` reads rules as they stand, `reach` holds them against known workloads, `effect` proves that a rule decides
nothing. A finding is suppressed by a comment (`suppress`).
"""

from __future__ import annotations

from policies.lint import effect, reach, written
from policies.lint.world import World
from policies.problem import Problem


def lint(world: World) -> list[Problem]:
    """Every finding, in the order of the files."""
    found = [*written.check(world), *reach.check(world), *effect.check(world)]
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda p: (p.origin.file, p.origin.line, p.code, p.path))
