from __future__ import annotations

from typing import Any

import pytest

from policies.authorization_policy import AuthorizationPolicy, parse
from policies.describe import describe, describe_policy
from policies.document import Document
from policies.peer_authentication import PeerAuthentication
from policies.program import Protocol
from policies.side import Policies, Target
from policies.workload import MeshSettings, MtlsMode, Workload


def a_policy(*rules: Any, name: str = "p", **spec: Any) -> AuthorizationPolicy:
    value = {"metadata": {"name": name, "namespace": "shop"}, "spec": {"rules": [*rules], **spec}}
    found, problems = parse(Document(value))
    assert found is not None, problems
    return found


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ({}, "anybody may call"),
        (
            {"from": [{"source": {"principals": ["td/ns/a/sa/x"], "ipBlocks": ["10.0.0.0/8"]}}]},
            "…/ns/a/sa/x at 10.0.0.0/8 may call",
        ),
        (
            {"from": [{"source": {"notNamespaces": ["a", "b"]}}]},
            "callers of namespace anybody but a or b may call",
        ),
        ({"to": [{"operation": {"methods": ["GET"], "paths": ["/a", "/b"]}}]}, "anybody may GET /a or /b"),
        (
            {"to": [{"operation": {"notMethods": ["PUT"], "ports": ["80"]}}]},
            "anybody may call with methods anything but PUT on port 80",
        ),
        (
            {"when": [{"key": "request.headers[x]", "notValues": ["*"]}]},
            "anybody may call, where request.headers[x] is absent",
        ),
        (
            {"to": [{"operation": {"methods": [f"M{i}" for i in range(9)]}}]},
            "anybody may M0, M1, M2, M3 or 5 more",
        ),
    ],
)
def test_a_rule_in_words(rule: Any, text: str) -> None:
    assert [sentence.text for sentence in describe_policy(a_policy(rule))] == [text]


def test_each_pair_of_entries_is_a_sentence() -> None:
    sources = [{"source": {"namespaces": [n]}} for n in ("a", "b")]
    operations = [{"operation": {"methods": [m]}} for m in ("GET", "PUT")]
    assert len(describe_policy(a_policy({"from": sources, "to": operations}, action="DENY"))) == 4


def test_a_workload_with_who_may_reach_it() -> None:
    allow = a_policy({"from": [{"source": {"namespaces": ["a"]}}]})
    deny = a_policy({"to": [{"operation": {"paths": ["/admin"]}}]}, name="d", action="DENY")
    permissive = PeerAuthentication("shop", "default", mode=MtlsMode.PERMISSIVE)
    policies = Policies(MeshSettings("td"), (allow, deny), (permissive,))
    target = Target(Workload("shop", "b", "b"), 80, Protocol.HTTP)
    found = describe(policies, [target], ["td/ns/a/sa/x", "td/ns/b/sa/y"])
    assert found.closed
    assert found.ports[0].callers == ("td/ns/a/sa/x",)
    assert found.lines() == [
        "shop/b",
        "  port 80 (http) takes mutual TLS and plaintext; may be reached by …/ns/a/sa/x",
        "  nobody may call, but:",
        "    callers of namespace a may call  shop/p[0]",
        "  and whatever is allowed:",
        "    anybody may never call paths /admin  shop/d[0]",
    ]
    assert found.to_json()["default"] == "deny"


def test_without_policies_everybody_may() -> None:
    target = Target(Workload("shop", "b", "b"), 80, Protocol.TCP)
    assert "  everybody may call." in describe(Policies(MeshSettings("td")), [target], []).lines()
