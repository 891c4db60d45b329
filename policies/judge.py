"""Judging a PolicyTest: what each request's answer is, and whether it is the one expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies.document import Json
from policies.evaluate import evaluate
from policies.lower import lower
from policies.peer_authentication import effective_mode
from policies.policy_test import Case, PolicyTest
from policies.program import DecisionProgram, Protocol
from policies.select import select
from policies.selector import selects
from policies.workload import MtlsMode, Workload

UNSUPPORTED: Final = "unsupported"


@dataclass(frozen=True, slots=True)
class Result:
    """`actual`: allow, deny or unsupported (then `reason` says what is not in this version)."""

    test: str
    id: str
    expect: str
    actual: str
    status: int = 0
    rule: str = ""
    ok: bool = False
    reason: str = ""

    def to_json(self) -> dict[str, Json]:
        result: dict[str, Json] = {
            "test": self.test,
            "id": self.id,
            "expect": self.expect,
            "actual": self.actual,
            "status": self.status,
            "rule": self.rule,
            "ok": self.ok,
        }
        return {**result, "reason": self.reason} if self.reason else result


def run(test: PolicyTest) -> list[Result]:
    """A result for each request, in order."""
    ports = dict[tuple[str, str, int, Protocol], tuple[DecisionProgram, MtlsMode]]()
    results = list[Result]()
    for case in test.cases:
        key = (case.workload.namespace, case.workload.name, case.port, case.protocol)
        if key not in ports:
            ports[key] = _port(test, case)
        results.append(_judge(test, case, *ports[key]))
    return results


def _port(test: PolicyTest, case: Case) -> tuple[DecisionProgram, MtlsMode]:
    """The program and the mTLS mode of the port that a case asks."""
    selected = select(test.policies, case.workload, test.settings)
    program = lower(selected, test.settings, port=case.port, protocol=case.protocol)
    peers = test.peer_authentications
    return program, effective_mode(peers, case.workload, case.port, test.settings, default=test.default_mode)


def _judge(test: PolicyTest, case: Case, program: DecisionProgram, mode: MtlsMode) -> Result:
    reason = case.unsupported or _unsupported_for(test, case.workload)
    if reason:
        return Result(test.name, case.id, case.expect, UNSUPPORTED, reason=reason)
    decision = evaluate(program, case.request, test.settings, mode)
    actual = "allow" if decision.allowed else "deny"
    ok = actual == case.expect and case.status in (0, decision.status) and case.rule in ("", decision.rule)
    return Result(test.name, case.id, case.expect, actual, decision.status, decision.rule, ok)


def _unsupported_for(test: PolicyTest, workload: Workload) -> str:
    """The first unsupported resource that would have a say about `workload`."""
    spaces = (workload.namespace, test.settings.root_namespace)
    return next(
        (
            u.reason
            for u in test.unsupported
            if u.namespace in spaces and selects(u.selector, workload.labels)
        ),
        "",
    )
