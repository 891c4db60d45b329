from policies.coverage import cover
from policies.document import Document
from policies.judge import run
from policies.policy_test import PolicyTest, parse

POLICY = {
    "apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy",
    "metadata": {"name": "b", "namespace": "shop"},
    "spec": {
        "rules": [
            {"to": [{"operation": {"methods": ["GET"]}}]},
            {"to": [{"operation": {"methods": ["PUT"]}}]},
        ]
    },
}


def a_test(*methods: str) -> PolicyTest:
    requests = [
        {"to": {"workload": "b", "namespace": "shop", "port": 80}, "method": method, "expect": "allow"}
        for method in methods
    ]
    value = {
        "apiVersion": "pylis.io/v1alpha1",
        "kind": "PolicyTest",
        "metadata": {"name": "t"},
        "spec": {
            "resources": [POLICY],
            "workloads": [{"name": "b", "namespace": "shop"}],
            "requests": requests,
        },
    }
    test, problems = parse(Document(value))  # pyright: ignore[reportArgumentType]
    assert test is not None, problems
    return test


def test_rules_that_decided_nothing_are_named() -> None:
    test = a_test("GET", "GET", "DELETE")
    found = cover([(test, run(test, now=0))])
    assert [(rule.name, rule.requests) for rule in found.rules] == [("shop/b[0]", 2), ("shop/b[1]", 0)]
    assert found.to_json() == {
        "rules": 2,
        "covered": 1,
        "missed": [{"rule": "shop/b[1]", "file": None, "line": None}],
    }
    assert found.lines() == ["never decided: shop/b[1]", "1 of 2 rules decided a request"]


def test_tests_that_share_a_rule_cover_it_together() -> None:
    one, other = a_test("GET"), a_test("PUT")
    assert not cover([(one, run(one, now=0)), (other, run(other, now=0))]).missed
