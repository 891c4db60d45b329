"""May this caller ever be allowed? Decides what a sidecar is told of, from the caller's identity alone.

Three-valued: a condition on the identity is decided, every other is open. Conservative: what is open counts
as possible, so a service that could be called is never hidden; a DENY hides only when it matches for sure.
"""

from __future__ import annotations

from dataclasses import dataclass

from policies.attributes import Attribute
from policies.evaluate import Facts, holds
from policies.predicate import Condition, Exact, Prefix, Value
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
    # all of a program that `may_ever_allow` looks at: while both are equal, so is every answer
    cut_off: frozenset[str] = frozenset()
    seen: tuple[object, ...] = ()


def audience(program: DecisionProgram) -> Audience:
    named, namespaces, anyone = set[str](), set[str](), not program.allow_applies
    for clause in program.allow if program.allow_applies else ():
        decided = [c for c in clause.conditions if _is_decided(c)]
        narrow = next((c for c in decided if _lists(c)), None)
        if narrow is None:
            anyone = True
        elif narrow.key.attribute is Attribute.NAMESPACE:
            namespaces.update(value.text for value in narrow.values if isinstance(value, Exact))
        else:
            exact = (
                {v.text for v in narrow.values if isinstance(v, Exact)} if len(decided) == 1 else set[str]()
            )
            named |= exact
            others = (v for v in narrow.values if not (isinstance(v, Exact) and v.text in exact))
            namespaces.update(filter(None, map(_namespace_of, others)))
    cut_off = frozenset(program.revoked.principals)
    denies = bool(cut_off) or any(all(map(_is_decided, clause.conditions)) for clause in program.deny)
    return Audience(frozenset(named), frozenset(namespaces), anyone, denies, cut_off, _seen(program))


def differing(old: Audience, new: Audience) -> frozenset[str] | None:
    """Of two audiences of one port: the principals whose answer may be another now; None: anybody's."""
    return old.cut_off ^ new.cut_off if old.seen == new.seen else None


def _seen(program: DecisionProgram) -> tuple[object, ...]:
    allow = tuple(map(_identities, program.allow)) if program.allow_applies else None
    deny = tuple(_identities(c) for c in program.deny if all(map(_is_decided, c.conditions)))
    return deny, allow


def _identities(clause: Clause) -> tuple[object, ...]:
    """What a clause says of the caller, without where it is written."""
    return tuple((c.key, c.values, c.negated) for c in clause.conditions if _is_decided(c))


def _lists(condition: Condition) -> bool:
    """Does it write out whom it lets in?"""
    if condition.negated:
        return False
    match condition.key.attribute:
        case Attribute.NAMESPACE:
            return all(isinstance(value, Exact) for value in condition.values)
        case Attribute.PRINCIPAL:
            return all(isinstance(v, Exact) or _namespace_of(v) for v in condition.values)
        case _:
            return False


def _namespace_of(value: Value) -> str:
    """The one namespace all principals that match live in; "" where there is no such."""
    match value:
        case Exact(text) | Prefix(text):
            parts = text.split("/")
            return parts[2] if len(parts) > 3 and parts[1] == "ns" else ""
        case _:
            return ""


def _certainly_matches(clause: Clause, facts: Facts) -> bool:
    return all(_is_decided(c) and holds(c, facts) for c in clause.conditions)


def _possibly_matches(clause: Clause, facts: Facts) -> bool:
    return all(not _is_decided(c) or holds(c, facts) for c in clause.conditions)


def _is_decided(condition: Condition) -> bool:
    return condition.key.row.needs_identity
