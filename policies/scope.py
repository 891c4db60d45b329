"""May this caller ever be allowed? Decides what a sidecar is told of, from the caller's identity alone.

Three-valued: a condition on the identity is decided, every other is open. Conservative: what is open counts
as possible, so a service that could be called is never hidden; a DENY hides only when it matches for sure.
"""

from __future__ import annotations

from policies.evaluate import Facts, holds
from policies.predicate import Condition
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


def _certainly_matches(clause: Clause, facts: Facts) -> bool:
    return all(_is_decided(c) and holds(c, facts) for c in clause.conditions)


def _possibly_matches(clause: Clause, facts: Facts) -> bool:
    return all(not _is_decided(c) or holds(c, facts) for c in clause.conditions)


def _is_decided(condition: Condition) -> bool:
    return condition.key.row.needs_identity
