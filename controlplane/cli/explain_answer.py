"""The answer of `pylis explain`: the policies of the mesh put to one question, as text and as JSON. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.cli.explain_question import Question
from controlplane.mesh.mesh import Mesh, workload
from controlplane.mesh.targets import policies_of
from policies.document import Json
from policies.evaluate import Outside
from policies.explain import Explanation, Outcome, Step, Unused, explain
from policies.peer_authentication import EffectiveMode
from policies.problem import Origin
from policies.program import Protocol
from policies.side import Policies, Target, mode_of, selected, side
from policies.wording import describe_decision, render, suggest, written


@dataclass(frozen=True, slots=True)
class Answer:
    question: Question
    explanation: Explanation
    mode: EffectiveMode
    policies: Policies
    asked: Target
    outside: Outside

    def lines(self) -> list[str]:
        verdict = "ALLOW" if self.explanation.decision.allowed else "DENY"
        return [f"{verdict}  {self.question}", "", *render(self.explanation), *self._mode_lines()]

    def _mode_lines(self) -> list[str]:
        found = self.mode.decided_by
        if self.question.request.principal is not None:
            return []
        where = (
            f"PeerAuthentication {found.full_name} {found.origin}".rstrip() if found else "the mesh's default"
        )
        return [f"  mTLS mode of the port: {self.mode.mode} ({where})"]

    def to_json(self) -> dict[str, Json]:
        question, found = self.question, self.explanation
        target, request = question.target, question.request
        asked: dict[str, Json] = {"port": target.port, "protocol": str(target.protocol)}
        if target.protocol is Protocol.HTTP:
            headers: dict[str, Json] = {**request.headers}
            asked |= {
                "method": request.method,
                "path": request.path,
                "host": request.host,
                "headers": headers,
            }
            if request.claims is not None:
                asked["claims"] = dict(request.claims)
        return {
            "allowed": found.decision.allowed,
            "rule": found.decision.rule,
            "status": found.decision.status,
            "from": {"name": question.caller, "principal": request.principal, "ip": _text(request.source_ip)},
            "to": {"workload": target.entry.name, "namespace": target.entry.namespace},
            "request": asked,
            "mtlsMode": str(self.mode.mode),
            "mtlsDecidedBy": self.mode.decided_by.full_name if self.mode.decided_by else None,
            "decidedBy": describe_decision(found.decision),
            "clauses": [_clause(outcome, outcome is found.nearest) for outcome in found.outcomes],
            "unused": [_unused(item) for item in found.unused],
            "suggestions": [*suggest(found)],
        }


def answer(mesh: Mesh, question: Question, outside: Outside = Outside()) -> Answer:
    """`outside`: the time, and what external authorizers answer."""
    target = question.target
    asked = Target(workload(target.entry), target.port, target.protocol)
    policies = policies_of(mesh)
    one, mode = side(policies, asked), mode_of(policies, asked)
    own = selected(policies, asked.workload)
    found = explain(
        one.program, question.request, one.settings, mode=mode.mode, policies=own, outside=outside
    )
    return Answer(question, found, mode, policies, asked, outside)


def _clause(outcome: Outcome, nearest: bool) -> dict[str, Json]:
    return {
        "rule": outcome.name,
        "action": str(outcome.action),
        "matched": outcome.matched,
        "nearest": nearest,
        **_place(outcome.origin),
        "conditions": [_condition(step) for step in outcome.steps],
    }


def _condition(step: Step) -> dict[str, Json]:
    condition = step.condition
    return {
        "attribute": str(condition.key),
        "negated": condition.negated,
        "values": [written(value) for value in condition.values],
        "seen": step.seen,
        "holds": step.holds,
        "path": condition.path,
        **_place(condition.origin),
    }


def _unused(item: Unused) -> dict[str, Json]:
    return {"rule": item.name, "action": str(item.action), "reason": item.reason, **_place(item.origin)}


def _place(origin: Origin) -> dict[str, Json]:
    return {"file": origin.file or None, "line": origin.line or None}


def _text(value: object) -> str | None:
    return None if value is None else str(value)
