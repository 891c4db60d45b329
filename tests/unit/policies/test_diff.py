from __future__ import annotations

from typing import Any

import pytest

from policies.authorization_policy import AuthorizationPolicy, parse
from policies.diff import Relation, all_targets, diff
from policies.document import Document
from policies.pattern import TooManyError
from policies.program import Protocol
from policies.side import Policies, Target
from policies.workload import MeshSettings, Workload

MESH = MeshSettings("td")
TARGET = Target(Workload("shop", "b", "b", {"app": "b"}), 80, Protocol.HTTP)


def a_policy(name: str = "p", namespace: str = "shop", **spec: Any) -> AuthorizationPolicy:
    found, problems = parse(Document({"metadata": {"name": name, "namespace": namespace}, "spec": spec}))
    assert found is not None, problems
    return found


def methods(*names: str) -> dict[str, Any]:
    return {"to": [{"operation": {"methods": [*names]}}]}


def policies(*found: AuthorizationPolicy) -> Policies:
    return Policies(MESH, found)


def test_each_relation() -> None:
    get, both, put = (policies(a_policy(rules=[methods(*m)])) for m in (["GET"], ["GET", "PUT"], ["PUT"]))
    assert diff(get, get, [TARGET]).relation is Relation.EQUIVALENT
    assert diff(get, both, [TARGET]).relation is Relation.MORE
    assert diff(both, get, [TARGET]).relation is Relation.LESS
    assert diff(get, put, [TARGET]).relation is Relation.INCOMPARABLE


def test_a_change_names_both_rules_and_its_witness() -> None:
    before = policies(a_policy(rules=[methods("GET")]))
    after = policies(a_policy(rules=[methods("GET"), methods("PUT")]))
    (change,) = diff(before, after, [TARGET]).changes
    assert (change.gained, change.before.rule, change.after.rule) == (True, "default-deny", "shop/p[1]")
    assert change.witness.request.method == "PUT"
    assert (change.witness.request.principal or "").startswith("td/ns/")


def test_splitting_a_rule_changes_nothing() -> None:
    one = policies(a_policy(rules=[methods("GET", "PUT")]))
    two = policies(a_policy(rules=[methods("PUT")]), a_policy("q", rules=[methods("GET")]))
    assert diff(one, two, [TARGET]).relation is Relation.EQUIVALENT


def test_the_first_allow_policy_closes_what_was_open() -> None:
    (change,) = diff(policies(), policies(a_policy()), [TARGET]).changes
    assert (change.gained, change.before.rule, change.after.rule) == (False, "default-allow", "default-deny")


def test_workloads_that_selectors_tell_apart() -> None:
    before = policies(a_policy(selector={"matchLabels": {"app": "b"}}, rules=[methods("GET")]))
    after = policies(
        a_policy(
            selector={"matchLabels": {"app": "b"}},
            rules=[{"to": [{"operation": {"methods": ["GET"], "ports": ["8080"]}}]}],
        )
    )
    found = diff(before, after, all_targets(before, after))
    assert found.relation is Relation.LESS
    assert {(c.target.workload.name, c.target.port) for c in found.changes} == {("b", 18080)}


def test_too_many_kinds_of_workloads() -> None:
    many = [
        a_policy(f"p{i}", selector={"matchLabels": {f"key{i}": "x"}}, rules=[methods("GET")])
        for i in range(20)
    ]
    with pytest.raises(TooManyError, match="WorkloadEntries"):
        all_targets(policies(*many))
