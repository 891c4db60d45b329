"""Rules for gRPC. That grpcio enforces them is in tests/integration/test_proxyless.py."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact, Prefix, Suffix, Value
from policies.program import Clause, DecisionProgram, Protocol, Revoked
from xds import schema
from xds.compile import grpc_rules

DOMAINS = ("example.org",)


def a_clause(name: str, *conditions: Condition) -> Clause:
    return Clause(name, conditions)


def says(attribute: Attribute, *values: Value, name: str = "", negated: bool = False) -> Condition:
    return Condition(Key(attribute, name), values, negated)


def a_program(**parts: Any) -> DecisionProgram:
    return DecisionProgram(Protocol.HTTP, 8080, **parts)


def rules(program: DecisionProgram) -> list[dict[str, Any]]:
    return [
        json_format.MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=schema.pool())[
            "rules"
        ]
        for message in grpc_rules.filters(program, DOMAINS)
    ]


WEB = says(Attribute.PRINCIPAL, Exact("example.org/ns/shop/sa/web"))
CLAIM = Condition(Key(Attribute.REQUEST_PRINCIPAL), ())


def test_identity_stands_with_principals_and_the_request_with_permissions() -> None:
    path = says(Attribute.PATH, Prefix("/a"), Exact("/b"))
    program = a_program(allow=(a_clause("shop/p[0]", WEB, path),), allow_applies=True)
    (allow,) = rules(program)
    (policy,) = allow["policies"].values()
    assert policy["principals"] == [
        {
            "and_ids": {
                "ids": [
                    {"authenticated": {"principal_name": {"exact": "spiffe://example.org/ns/shop/sa/web"}}}
                ]
            }
        }
    ]
    either = [{"url_path": {"path": {"prefix": "/a"}}}, {"url_path": {"path": {"exact": "/b"}}}]
    assert policy["permissions"] == [{"and_rules": {"rules": [{"or_rules": {"rules": either}}]}}]


def test_a_negated_test_is_negated_and_deny_comes_before_allow() -> None:
    other = says(Attribute.HEADER, Suffix("x"), name="x-a", negated=True)
    deny, allow = rules(a_program(deny=(a_clause("shop/d[0]", other),)))
    assert deny["action"] == "DENY"
    permission = {"not_rule": {"header": {"name": "x-a", "string_match": {"suffix": "x"}}}}
    assert deny["policies"]["shop/d[0]"]["permissions"] == [{"and_rules": {"rules": [permission]}}]
    assert list(allow["policies"]) == ["default-allow"]


def test_without_an_allow_policy_the_mesh_itself_is_allowed_and_nobody_else() -> None:
    (allow,) = rules(a_program())
    (policy,) = allow["policies"].values()
    assert policy["principals"] == [
        {"authenticated": {"principal_name": {"prefix": "spiffe://example.org/"}}}
    ]


def test_allow_nothing_allows_nothing() -> None:
    assert rules(a_program(allow_applies=True)) == [{}]


def test_an_allow_clause_that_cannot_be_decided_is_left_out_and_named() -> None:
    program = a_program(allow=(a_clause("a[0]", CLAIM), a_clause("a[1]", WEB)), allow_applies=True)
    (allow,) = rules(program)
    assert list(allow["policies"]) == ["a[1]"]
    assert grpc_rules.shortfalls(program, DOMAINS) == ["gRPC cannot decide a[0]: it allows nothing"]


def test_what_would_forbid_and_cannot_be_decided_closes_the_port() -> None:
    closed = (
        a_program(deny=(a_clause("d[0]", CLAIM),), allow=(a_clause("a[0]", WEB),), allow_applies=True),
        a_program(revoked=Revoked(serials=frozenset({"a1"}))),
    )
    for program in closed:
        assert rules(program)[-1] == {}
        assert "every call is denied" in grpc_rules.shortfalls(program, DOMAINS)[0]


def test_the_revoked_are_denied_first() -> None:
    deny, _ = rules(a_program(revoked=Revoked(frozenset({"example.org/ns/shop/sa/web"}))))
    assert (deny["action"], list(deny["policies"])) == ("DENY", ["quarantine"])
