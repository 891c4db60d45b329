"""A verdict a document, in the order of the file, with what the API's own parsers say."""

from __future__ import annotations

from controlplane.resources.verdicts import Verdict, judge_file, mark_repeated
from controlplane.resources.yaml_text import read_text
from policies import codes

GOOD = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: orders}
spec: {}
"""
BAD = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: pay, namespace: shop}
spec:
  action: DENY
"""
MESH = """
workloads:
  orders: {command: [x], ports: {http: 0}}
"""
TEST = """
apiVersion: pylis.io/v1alpha1
kind: PolicyTest
metadata: {name: t}
spec: {requests: [{expect: perhaps, to: {workload: b, port: 80}}]}
"""


def judged(*texts: str) -> list[Verdict]:
    documents, problems = read_text("---\n".join(texts), "f.yaml")
    return judge_file(documents, problems, lambda _: ([], []))


def test_each_document_in_order() -> None:
    good, bad = judged(GOOD, BAD)
    assert (good.kind, good.namespace, good.name, good.valid) == (
        "AuthorizationPolicy",
        "default",
        "orders",
        True,
    )
    assert (bad.namespace, bad.name, bad.valid) == ("shop", "pay", False)
    assert bad.to_json()["problems"] == [
        {
            "code": codes.DENY_WITHOUT_RULES, "path": "spec.rules", "file": "f.yaml", "line": 11,
            "message": "a DENY policy needs rules", "hint": "rules: [{}] denies everything", "severity": "error",
        }
    ]  # fmt: skip


def test_kinds_that_only_files_hold() -> None:
    mesh, test = judged(MESH, TEST)
    assert (mesh.kind, mesh.problems[0].path) == ("mesh.yaml", "workloads.orders.ports.http")
    assert (test.kind, test.namespace, test.valid) == ("PolicyTest", "", False)


def test_an_unknown_kind_is_invalid() -> None:
    (verdict,) = judged("kind: Deployment\nmetadata: {name: x}")
    assert (verdict.kind, verdict.name, verdict.problems[0].code) == ("Deployment", "x", codes.UNKNOWN_KIND)


def test_a_problem_of_the_text_belongs_to_its_document() -> None:
    first, second = judged(GOOD, GOOD.replace("{name: orders}", "{name: a, name: b}"))
    assert first.valid
    assert [p.code for p in second.problems] == [codes.DEFINED_TWICE]


def test_text_that_is_no_document_has_its_own_verdict() -> None:
    first, second = judged(GOOD, "a: [")
    assert first.valid
    assert (second.kind, second.valid, second.problems[0].code) == ("", False, codes.UNREADABLE)


def test_an_object_that_stands_twice_is_a_warning() -> None:
    _, second = mark_repeated(judged(GOOD, GOOD))
    assert second.valid
    assert second.problems[0].message == "default/orders is already defined in f.yaml:4"
