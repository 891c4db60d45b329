from __future__ import annotations

from dataclasses import replace

from policies.evaluate import MTLS_STRICT, evaluate
from policies.observe import is_observed, observed, observed_mode
from policies.program import DEFAULT_DENY, Clause, DecisionProgram, DryRun, Protocol, Revoked
from policies.request import Request
from policies.workload import MeshSettings, MtlsMode, Workload

CLOSED = DecisionProgram(
    Protocol.HTTP, 8080, allow=(), allow_applies=True, revoked=Revoked(frozenset({"example.org/ns/a/sa/b"}))
)
SETTINGS = MeshSettings("example.org")


def test_nothing_is_refused_and_what_would_be_is_kept_beside() -> None:
    found = observed(CLOSED, MtlsMode.PERMISSIVE)
    assert not found.allow_applies
    assert found.deny == ()
    assert found.observed is not None
    assert found.observed.allow_applies  # "allow nothing" would deny everything


def test_who_is_cut_off_stays_cut_off() -> None:
    assert observed(CLOSED, MtlsMode.STRICT).revoked == CLOSED.revoked


def test_dry_runs_stay_what_they_are_and_are_not_taken_for_what_would_be_enforced() -> None:
    dry = DryRun(deny=(Clause("shop/tried[0]", ()),))
    found = observed(replace(CLOSED, dry_run=dry), MtlsMode.STRICT)
    assert found.dry_run == dry
    assert found.observed is not None
    assert found.observed.dry_run == DryRun()


def test_plain_text_would_be_refused_where_the_port_is_strict_and_only_there() -> None:
    open_ = DecisionProgram(Protocol.TCP, 5432)
    plain, known = Request(), Request(principal="example.org/ns/shop/sa/web")
    strict = observed(open_, MtlsMode.STRICT).observed
    permissive = observed(open_, MtlsMode.PERMISSIVE).observed
    assert strict is not None
    assert permissive is not None
    assert evaluate(strict, plain, SETTINGS).rule == MTLS_STRICT
    assert not evaluate(strict, plain, SETTINGS).allowed
    assert evaluate(strict, known, SETTINGS).allowed
    assert evaluate(permissive, plain, SETTINGS).allowed


def test_what_would_be_decided_is_what_is_decided_without_the_label() -> None:
    would = observed(CLOSED, MtlsMode.PERMISSIVE).observed
    assert would is not None
    request = Request(principal="example.org/ns/shop/sa/web")
    assert evaluate(would, request, SETTINGS) == evaluate(CLOSED, request, SETTINGS)
    assert evaluate(would, request, SETTINGS).rule == DEFAULT_DENY


def test_plain_text_is_taken_beside_mutual_tls() -> None:
    assert observed_mode(MtlsMode.STRICT) is MtlsMode.PERMISSIVE
    assert observed_mode(MtlsMode.DISABLE) is MtlsMode.DISABLE


def test_the_label_says_so() -> None:
    assert is_observed(Workload("shop", "web", "web", {"pylis.io/mode": "observe"}))
    assert not is_observed(Workload("shop", "web", "web", {"pylis.io/mode": "enforce"}))
