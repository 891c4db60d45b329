from __future__ import annotations

from typing import Any

from policies import codes
from policies.authorization_policy import AuthorizationPolicy, parse
from policies.document import Document
from policies.lint.effect import check
from policies.lint.world import World
from policies.side import Policies
from policies.workload import MeshSettings


def a_policy(*rules: Any, name: str = "p", **spec: Any) -> AuthorizationPolicy:
    value = {"metadata": {"name": name, "namespace": "shop"}, "spec": {"rules": [*rules], **spec}}
    found, problems = parse(Document(value))
    assert found is not None, problems
    return found


def to(**operation: Any) -> Any:
    return {"to": [{"operation": operation}]}


def findings(*policies: AuthorizationPolicy) -> list[tuple[str, str]]:
    return [(p.path, p.code) for p in check(World(Policies(MeshSettings("td"), policies)))]


def test_of_equal_rules_the_later_one_is_named() -> None:
    rule = to(paths=["/a"])
    assert findings(a_policy(rule, rule, rule)) == [
        ("shop/p[2]", codes.REDUNDANT),
        ("shop/p[1]", codes.REDUNDANT),
    ]


def test_the_rule_that_covers_is_named() -> None:
    (problem,) = check(World(Policies(MeshSettings("td"), (a_policy(to(paths=["/a*"]), to(paths=["/ab"])),))))
    assert problem.message == "decides nothing: shop/p[0] already matches all of its requests"


def test_rules_that_cover_only_together() -> None:
    rules = to(methods=["GET"]), to(notMethods=["GET"]), to(paths=["/a"])
    (problem,) = check(World(Policies(MeshSettings("td"), (a_policy(*rules),))))
    assert problem.message == "decides nothing: the other rules together already match all of its requests"


def test_a_deny_rule_is_not_blamed_for_what_nothing_allows() -> None:
    deny = a_policy(to(paths=["/admin"]), name="d", action="DENY")
    assert findings(a_policy(to(paths=["/a"])), deny) == []


def test_plaintext_is_nobody_where_mtls_is_strict() -> None:
    only_plaintext = {"from": [{"source": {"notPrincipals": ["*"]}}]}
    assert findings(a_policy(only_plaintext)) == [("shop/p[0]", codes.VACUOUS)]


def test_what_is_only_tried_is_passed_over() -> None:
    value = {
        "metadata": {"name": "p", "namespace": "shop", "annotations": {"istio.io/dry-run": "true"}},
        "spec": {"rules": [to(paths=["/a"]), to(paths=["/a"])]},
    }
    policy, _ = parse(Document(value))  # pyright: ignore[reportArgumentType] - JSON written as Python
    assert policy is not None
    assert findings(policy) == []
