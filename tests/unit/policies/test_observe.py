from __future__ import annotations

from policies.observe import is_observed, observed, observed_mode
from policies.program import DecisionProgram, DryRun, Protocol, Revoked
from policies.workload import MtlsMode, Workload

CLOSED = DecisionProgram(
    Protocol.HTTP, 8080, allow=(), allow_applies=True, revoked=Revoked(frozenset({"example.org/ns/a/sa/b"}))
)


def test_nothing_is_refused_and_the_verdict_is_a_dry_runs() -> None:
    found = observed(CLOSED)
    assert not found.allow_applies
    assert found.deny == ()
    assert found.dry_run == DryRun(deny=None, allow=())  # "allow nothing" would deny everything


def test_who_is_cut_off_stays_cut_off() -> None:
    assert observed(CLOSED).revoked == CLOSED.revoked


def test_a_workload_without_policies_has_no_verdict() -> None:
    assert observed(DecisionProgram(Protocol.HTTP, 8080)).dry_run == DryRun()


def test_plain_text_is_taken_beside_mutual_tls() -> None:
    assert observed_mode(MtlsMode.STRICT) is MtlsMode.PERMISSIVE
    assert observed_mode(MtlsMode.DISABLE) is MtlsMode.DISABLE


def test_the_label_says_so() -> None:
    assert is_observed(Workload("shop", "web", "web", {"pylis.io/mode": "observe"}))
    assert not is_observed(Workload("shop", "web", "web", {"pylis.io/mode": "enforce"}))
