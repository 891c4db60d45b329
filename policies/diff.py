"""What changes for whom between two sets of policies: every workload and port, each difference with a witness.

Where workloads are known they are asked; where only policies are, workloads stand for every combination of labels
and namespaces that selectors can tell apart, on every port that policies name and one that they do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Final

from policies.attributes import Attribute
from policies.compare import compare
from policies.evaluate import Decision
from policies.pattern import TooManyError
from policies.program import Protocol
from policies.side import Policies, Side, Target, Witness, side
from policies.values import read_port
from policies.workload import Workload

MAX_WORKLOADS: Final = 4096
OTHER: Final = "other"
OTHER_PORTS: Final = (8080, 18080, 28080)


class Relation(StrEnum):
    EQUIVALENT = "equivalent"
    LESS = "less permissive"
    MORE = "more permissive"
    INCOMPARABLE = "incomparable"


@dataclass(frozen=True, slots=True)
class Change:
    """Requests that one side allows and the other does not, for the same reasons: one of them as witness."""

    target: Target
    gained: bool
    witness: Witness
    before: Decision
    after: Decision


@dataclass(frozen=True, slots=True)
class Diff:
    """`tokens`: workloads whose accepted tokens changed, which no request here shows (`namespace/name`)."""

    changes: tuple[Change, ...] = ()
    tokens: tuple[str, ...] = ()

    @property
    def relation(self) -> Relation:
        gained = {change.gained for change in self.changes}
        if self.tokens or len(gained) == 2:
            return Relation.INCOMPARABLE
        if not gained:
            return Relation.EQUIVALENT
        return Relation.MORE if True in gained else Relation.LESS


def diff(old: Policies, new: Policies, targets: Sequence[Target]) -> Diff:
    """Raises: TooManyError."""
    changes, tokens = list[Change](), dict[str, None]()
    met = set[tuple[Side, Side]]()
    for target in targets:
        before, after = side(old, target), side(new, target)
        if not target.named:
            if (before, after) in met:
                continue
            met.add((before, after))
        if before.program.authentication != after.program.authentication:
            tokens[f"{target.workload.namespace}/{target.workload.name}"] = None
        changes += _changes(target, before, after)
    return Diff(tuple(changes), tuple(tokens))


def _changes(target: Target, before: Side, after: Side) -> Iterable[Change]:
    """One for each pair of deciding rules."""
    found = compare(before, after)
    seen = dict[tuple[bool, str, str], Change]()
    for gained, witnesses in ((True, found.gains), (False, found.losses)):
        for witness in witnesses:
            was, now = before.decide(witness), after.decide(witness)
            key = (gained, was.rule, now.rule)
            seen.setdefault(key, Change(target, gained, witness, was, now))
    return seen.values()


# --- workloads, where only policies are known ---


def all_targets(*sides: Policies) -> list[Target]:
    """A workload of every kind that the selectors of all sides tell apart, on every port. Raises: TooManyError."""
    ports = _ports(sides)
    protocols = tuple(Protocol)
    return [Target(*parts, named=False) for parts in product(_workloads(sides), ports, protocols)]


def _ports(sides: Sequence[Policies]) -> list[int]:
    named = set[int]()
    for one in sides:
        for policy in one.authorization:
            for match in (m for rule in policy.rules for m in rule.matches):
                if match.key.attribute is Attribute.DESTINATION_PORT:
                    named |= {port for value in match.values if (port := read_port(value)) is not None}
        named |= {port for found in one.peer_authentications for port in found.ports}
    return [*sorted(named), next(port for port in (*OTHER_PORTS, *range(1, 65536)) if port not in named)]


def _workloads(sides: Sequence[Policies]) -> list[Workload]:
    namespaces, labels = dict[str, None](), dict[str, dict[str | None, None]]()
    for one in sides:
        objects = (*one.authorization, *one.peer_authentications, *one.request_authentications)
        for found in objects:
            namespaces[found.namespace] = None
            for key, value in found.selector.items():
                labels.setdefault(key, {})[value] = None
    for values in labels.values():
        values[None] = None
    free = next(name for name in (OTHER, *(f"{OTHER}-{n}" for n in range(1000))) if name not in namespaces)
    spaces = (*namespaces, free)
    count = len(spaces)
    for values in labels.values():
        count *= len(values)
    if count > MAX_WORKLOADS:
        raise TooManyError(f"selectors tell {count} kinds of workloads apart; give the WorkloadEntries, too")
    return [
        _workload(namespace, {k: v for k, v in zip(labels, chosen, strict=True) if v is not None})
        for namespace, chosen in product(spaces, product(*labels.values()))
    ]


def _workload(namespace: str, labels: dict[str, str]) -> Workload:
    """Called after its labels."""
    name = labels.get("app") or "-".join(labels.values()) or "any"
    return Workload(namespace, name, name, labels)
