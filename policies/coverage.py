"""Which rules decided a request of some PolicyTests, and which none: a fold over their results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from policies.document import Json
from policies.judge import Result
from policies.lower import rule_name
from policies.policy_test import PolicyTest
from policies.problem import Origin


@dataclass(frozen=True, slots=True)
class CoveredRule:
    """`requests`: how many it decided."""

    name: str
    origin: Origin
    requests: int


@dataclass(frozen=True, slots=True)
class Coverage:
    rules: tuple[CoveredRule, ...]

    @property
    def missed(self) -> tuple[CoveredRule, ...]:
        return tuple(rule for rule in self.rules if not rule.requests)

    def to_json(self) -> dict[str, Json]:
        return {
            "rules": len(self.rules),
            "covered": len(self.rules) - len(self.missed),
            "missed": [
                {"rule": rule.name, "file": rule.origin.file or None, "line": rule.origin.line or None}
                for rule in self.missed
            ],
        }

    def lines(self) -> list[str]:
        covered = len(self.rules) - len(self.missed)
        return [
            *(f"never decided: {rule.name}  {rule.origin}".rstrip() for rule in self.missed),
            f"{covered} of {len(self.rules)} rules decided a request",
        ]


def cover(tests: Iterable[tuple[PolicyTest, Iterable[Result]]]) -> Coverage:
    """Every rule of the tests' policies; one that several tests read from a file is one rule."""
    decided = Counter[tuple[str, Origin]]()
    known = dict[tuple[str, Origin], None]()
    for test, results in tests:
        rules = {rule_name(p, i): rule.origin for p in test.policies for i, rule in enumerate(p.rules)}
        known |= dict.fromkeys(rules.items())
        decided.update((r.rule, rules[r.rule]) for r in results if r.rule in rules)
    return Coverage(tuple(CoveredRule(name, origin, decided[name, origin]) for name, origin in known))
