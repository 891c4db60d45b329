"""May this caller ever be allowed? Decides what a sidecar is told of, from the caller's identity alone.

Three-valued: a condition on the identity is decided, every other is open. Conservative: what is open counts
as possible, so a service that could be called is never hidden; a DENY hides only when it matches for sure.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.attributes import Attribute
from policies.evaluate import Facts, holds
from policies.predicate import Condition, Exact
from policies.program import Clause, DecisionProgram
from policies.request import Request
from policies.workload import MeshSettings

_ANY_MESH = MeshSettings(trust_domain="")


def may_ever_allow(program: DecisionProgram, principal: str) -> bool:
    """False only when no request of `principal` (`<td>/ns/<ns>/sa/<sa>`) can be allowed."""
    if "," in principal or principal in program.revoked.principals:
        return False
    facts = Facts(Request(principal=principal), _ANY_MESH)
    if any(_certainly_matches(clause, facts) for clause in program.deny):
        return False
    return not program.allow_applies or any(_possibly_matches(clause, facts) for clause in program.allow)


@dataclass(frozen=True, slots=True)
class Audience:
    """Who `may_ever_allow` can hold for, as far as a program names them: what an index of callers is made of.

    `named`: principals for whom it holds, unless `denies` (then ask). `namespaces`: anyone there may be let in,
    ask for each. `anyone`: so may anybody at all. Who is in none of these is never let in.
    """

    named: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    anyone: bool = False
    denies: bool = False


def audience(program: DecisionProgram) -> Audience:
    named, namespaces, anyone = set[str](), set[str](), not program.allow_applies
    for clause in program.allow if program.allow_applies else ():
        decided = [c for c in clause.conditions if _is_decided(c)]
        narrow = next((c for c in decided if _lists(c)), None)
        if narrow is None:
            anyone = True
        elif narrow.key.attribute is Attribute.NAMESPACE:
            namespaces.update(_texts(narrow))
        elif len(decided) == 1:
            named.update(_texts(narrow))
        else:
            namespaces.update(text.split("/")[2] for text in _texts(narrow) if text.count("/") >= 2)
    denies = bool(program.revoked.principals) or any(
        all(map(_is_decided, clause.conditions)) for clause in program.deny
    )
    return Audience(frozenset(named), frozenset(namespaces), anyone, denies)


def _lists(condition: Condition) -> bool:
    """Does it write out whom it lets in?"""
    listed = condition.key.attribute in (Attribute.PRINCIPAL, Attribute.NAMESPACE)
    return listed and not condition.negated and all(isinstance(v, Exact) for v in condition.values)


def _texts(condition: Condition) -> list[str]:
    return [value.text for value in condition.values if isinstance(value, Exact)]


def _certainly_matches(clause: Clause, facts: Facts) -> bool:
    return all(_is_decided(c) and holds(c, facts) for c in clause.conditions)


def _possibly_matches(clause: Clause, facts: Facts) -> bool:
    return all(not _is_decided(c) or holds(c, facts) for c in clause.conditions)


def _is_decided(condition: Condition) -> bool:
    return condition.key.row.needs_identity
