"""Judging a PolicyTest: what each request's answer is, and whether it is the one expected."""

from __future__ import annotations

from dataclasses import dataclass

from policies.document import Json
from policies.evaluate import DryRunDecision, Outside, evaluate, evaluate_dry_run
from policies.lower import lower
from policies.peer_authentication import effective_mode
from policies.policy_test import Case, Expect, PolicyTest
from policies.program import DecisionProgram, Protocol
from policies.request_authentication import authentication
from policies.select import select
from policies.workload import MtlsMode


@dataclass(frozen=True, slots=True)
class Result:
    """`dry_run`: what the tried policies of each action say, where there are any."""

    test: str
    id: str
    expect: str
    actual: str
    status: int = 0
    rule: str = ""
    ok: bool = False
    dry_run: tuple[tuple[str, str], ...] = ()

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
        tried: dict[str, Json] = dict(self.dry_run)
        return {**result, "dryRun": tried} if tried else result


def run(test: PolicyTest, now: float) -> list[Result]:
    """A result for each request, in order; tokens are checked at `now` (Unix time)."""
    ports = dict[tuple[str, str, int, Protocol], tuple[DecisionProgram, MtlsMode]]()
    results = list[Result]()
    for case in test.cases:
        key = (case.workload.namespace, case.workload.name, case.port, case.protocol)
        if key not in ports:
            ports[key] = program_for(test, case)
        results.append(_judge(test, case, *ports[key], Outside(now, authorizers=case.authorizers)))
    return results


def program_for(test: PolicyTest, case: Case) -> tuple[DecisionProgram, MtlsMode]:
    """The program and the mTLS mode of the port that a case asks."""
    program = lower(
        select(test.policies, case.workload, test.settings),
        test.settings,
        port=case.port,
        protocol=case.protocol,
        authentication=authentication(test.request_authentications, case.workload, test.settings),
    )
    peers = test.peer_authentications
    return program, effective_mode(peers, case.workload, case.port, test.settings, default=test.default_mode)


def _judge(
    test: PolicyTest, case: Case, program: DecisionProgram, mode: MtlsMode, outside: Outside
) -> Result:
    decision = evaluate(program, case.request, test.settings, mode, outside)
    tried = evaluate_dry_run(program, case.request, test.settings, mode, outside)
    actual = _word(decision.allowed)
    ok = (
        actual == case.expect
        and case.status in (0, decision.status)
        and case.rule in ("", decision.rule)
        and _as_tried(case, tried)
    )
    verdicts = [("allow", tried.allow), ("deny", tried.deny)]
    shown = tuple((action, _word(d.allowed)) for action, d in verdicts if d is not None)
    return Result(test.name, case.id, case.expect, actual, decision.status, decision.rule, ok, shown)


def _as_tried(case: Case, tried: DryRunDecision) -> bool:
    pairs = [(case.dry_run_allow, tried.allow), (case.dry_run_deny, tried.deny)]
    return all(
        expected is None or (decision is not None and _word(decision.allowed) == expected)
        for expected, decision in pairs
    )


def _word(allowed: bool) -> Expect:
    return Expect.ALLOW if allowed else Expect.DENY
