from __future__ import annotations

from controlplane.cli.mesh_source import mesh_of
from controlplane.cli.policy_lint import world_of
from controlplane.resources.yaml_text import read_text
from policies import codes
from policies.lint.reach import check
from policies.problem import Problem

MESH = """
trustDomain: shop.example
workloads:
  catalog: {namespace: shop, command: [x], ports: {http: 8080, tcp: 7000}}
  frontend: {namespace: web, command: [x], ports: {http: 8081}}
---
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: NAMESPACE}
spec:
  action: ACTION
  rules: [RULE]
"""
ROOT = (
    POLICY.replace("NAMESPACE", "istio-system")
    .replace("ACTION", "ALLOW")
    .replace("[RULE]", "[]")
    .replace("name: p", "name: root")
)


def found(rule: str, *, action: str = "ALLOW", namespace: str = "shop", mesh: str = MESH) -> list[Problem]:
    policy = POLICY.replace("NAMESPACE", namespace).replace("ACTION", action).replace("RULE", rule)
    documents, problems = read_text(f"{mesh}{policy}---{ROOT}", "f.yaml")
    return list(check(world_of(mesh_of(documents, problems))))


def codes_of(rule: str, *, action: str = "ALLOW", namespace: str = "shop") -> set[str]:
    return {problem.code for problem in found(rule, action=action, namespace=namespace)}


def test_names_that_are_there_are_not_flagged() -> None:
    rule = "{from: [{source: {principals: ['*/ns/web/sa/frontend']}}, {source: {serviceAccounts: [web/frontend, catalog]}}, {source: {namespaces: [we*]}}]}"
    assert codes_of(rule) == set()
    assert (
        codes_of("{to: [{operation: {hosts: [catalog.shop, 'catalog.shop:*', '*.shop'], ports: ['8080']}}]}")
        == set()
    )


def test_wildcards_that_nobody_matches() -> None:
    assert codes_of("{from: [{source: {principals: ['*/sa/nobody']}}]}") == {codes.UNKNOWN_PRINCIPAL}
    assert codes_of("{from: [{source: {namespaces: [x*]}}]}") == {codes.UNKNOWN_NAMESPACE}
    assert codes_of("{to: [{operation: {hosts: ['*.example']}}]}") == {codes.UNKNOWN_HOST}


def test_the_hint_lists_what_is_known() -> None:
    (problem,) = found("{from: [{source: {serviceAccounts: [web/front]}}]}")
    assert problem.hint == "known here: shop/catalog, web/frontend"
    assert problem.origin.line > 0


def test_http_fields_on_a_tcp_port() -> None:
    assert codes_of("{to: [{operation: {methods: [PUT]}}]}", action="DENY") == {codes.HTTP_ON_TCP}
    assert codes_of("{to: [{operation: {methods: [PUT], ports: ['7000']}}]}") == {codes.HTTP_ON_TCP}
    assert codes_of("{to: [{operation: {methods: [PUT]}}]}") == set()


def test_a_policy_of_the_root_namespace_selects_everywhere() -> None:
    assert codes_of("{}", namespace="istio-system") == set()
    assert codes_of("{}", namespace="nowhere") == {codes.SELECTS_NOTHING}


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert found("{from: [{source: {namespaces: [x]}}]}", mesh="---") == []
