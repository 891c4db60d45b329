from ipaddress import ip_address, ip_network

import pytest

from policies.attributes import Attribute, Key
from policies.evaluate import MALFORMED_PATH, MTLS_STRICT, Decision, evaluate
from policies.predicate import Condition, Exact, Network, Prefix, Present, Suffix, Value
from policies.program import (
    DEFAULT_ALLOW,
    DEFAULT_DENY,
    MALFORMED_IDENTITY,
    QUARANTINE,
    Clause,
    DecisionProgram,
    Protocol,
    Revoked,
)
from policies.request import Request
from policies.workload import MeshSettings, MtlsMode

MESH = MeshSettings("td")
WEB = "td/ns/shop/sa/web"


def a_clause(attribute: Attribute, *values: Value, negated: bool = False, header: str = "") -> Clause:
    return Clause("ns/p[0]", (Condition(Key(attribute, header), values, negated),))


def matches(clause: Clause, request: Request) -> bool:
    program = DecisionProgram(Protocol.HTTP, 80, allow=(clause,), allow_applies=True)
    return evaluate(program, request, MESH).allowed


def test_order_of_the_decision() -> None:
    yes, no = Clause("ns/yes[0]", ()), a_clause(Attribute.METHOD, Exact("PUT"))
    request = Request(method="GET", path="/")
    http = Protocol.HTTP
    decide = [
        evaluate(program, request, MESH)
        for program in (
            DecisionProgram(http, 80),
            DecisionProgram(http, 80, deny=(no,)),
            DecisionProgram(http, 80, deny=(no, yes), allow=(yes,), allow_applies=True),
            DecisionProgram(http, 80, allow_applies=True),
            DecisionProgram(http, 80, allow=(no,), allow_applies=True),
            DecisionProgram(http, 80, allow=(no, yes), allow_applies=True),
        )
    ]
    assert decide == [
        Decision(True, DEFAULT_ALLOW, 200),
        Decision(True, DEFAULT_ALLOW, 200),
        Decision(False, "ns/yes[0]", 403),
        Decision(False, DEFAULT_DENY, 403),
        Decision(False, DEFAULT_DENY, 403),
        Decision(True, "ns/yes[0]", 200),
    ]


def test_the_revoked_are_denied_before_any_rule_is_asked() -> None:
    anybody = Clause("ns/all[0]", ())
    program = DecisionProgram(
        Protocol.HTTP, 80, deny=(anybody,), allow=(anybody,), revoked=Revoked(frozenset({WEB}))
    )
    assert evaluate(program, Request(principal=WEB), MESH) == Decision(False, QUARANTINE, 403)
    assert evaluate(program, Request(principal=f"{WEB}2"), MESH).rule == "ns/all[0]"


def test_tcp_has_no_status() -> None:
    assert evaluate(DecisionProgram(Protocol.TCP, 80), Request(), MESH).status == 0
    assert evaluate(DecisionProgram(Protocol.TCP, 80, allow_applies=True), Request(), MESH).status == 0


@pytest.mark.parametrize(
    ("attribute", "request_"),
    [
        (Attribute.PRINCIPAL, Request()),
        (Attribute.NAMESPACE, Request()),
        (Attribute.NAMESPACE, Request(principal="td/x/ns/shop/sa/web")),
        (Attribute.NAMESPACE, Request(principal="td/ns/shop")),
        (Attribute.NAMESPACE, Request(principal="td/ns//sa/web")),
        (Attribute.SERVICE_ACCOUNT, Request(principal="td/ns/shop/sa/web/x")),
        (Attribute.HOST, Request()),
        (Attribute.METHOD, Request()),
        (Attribute.PATH, Request()),
        (Attribute.HEADER, Request(headers={"y": "1"})),
    ],
)
def test_an_absent_attribute_matches_nothing_so_its_negation_holds(
    attribute: Attribute, request_: Request
) -> None:
    assert not matches(a_clause(attribute, Present(), header="x"), request_)
    assert matches(a_clause(attribute, Present(), negated=True, header="x"), request_)


def test_no_address_is_in_no_network() -> None:
    everywhere = Network(ip_network("0.0.0.0/0"))
    assert not matches(a_clause(Attribute.SOURCE_IP, everywhere), Request())
    assert matches(a_clause(Attribute.SOURCE_IP, everywhere, negated=True), Request())
    assert matches(a_clause(Attribute.SOURCE_IP, everywhere), Request(source_ip=ip_address("10.0.0.1")))
    assert not matches(a_clause(Attribute.SOURCE_IP, everywhere), Request(source_ip=ip_address("::1")))


@pytest.mark.parametrize(
    ("value", "hit", "miss"),
    [
        (Exact("/a"), "/a", "/A"),
        (Prefix("/a"), "/ab", "/b/a"),
        (Suffix(".css"), "/x.css", "/x.css.js"),
        (Present(), "/", ""),
    ],
)
def test_forms(value: Value, hit: str, miss: str) -> None:
    clause = a_clause(Attribute.PATH, value)
    assert matches(clause, Request(path=hit))
    assert not matches(clause, Request(path=miss))


def test_identities() -> None:
    request = Request(principal=WEB)
    assert matches(a_clause(Attribute.NAMESPACE, Exact("shop")), request)
    assert matches(a_clause(Attribute.SERVICE_ACCOUNT, Exact("shop/web")), request)
    assert matches(a_clause(Attribute.PRINCIPAL, Suffix("/sa/web")), request)


def test_hosts_have_no_case() -> None:
    assert matches(a_clause(Attribute.HOST, Exact("a.example")), Request(host="A.Example"))


def test_headers() -> None:
    request = Request(headers={"x": "", "team": "Red"}, host="a.example")
    assert matches(a_clause(Attribute.HEADER, Present(), header="x"), request)
    assert not matches(a_clause(Attribute.HEADER, Exact("red"), header="team"), request)
    assert matches(a_clause(Attribute.HEADER, Exact("a.example"), header="host"), request)


def test_the_path_is_the_one_envoy_sees() -> None:
    deny = DecisionProgram(Protocol.HTTP, 80, deny=(a_clause(Attribute.PATH, Prefix("/admin")),))
    for path in ("//admin", "/x/../admin", "/%61dmin", "/admin?x=1", "/admin/", "/y/..;z/admin"):
        assert not evaluate(deny, Request(path=path), MESH).allowed
    assert evaluate(deny, Request(path="/Admin"), MESH).allowed


def test_what_envoy_refuses_itself() -> None:
    assert evaluate(DecisionProgram(Protocol.HTTP, 80), Request(path="/#"), MESH) == Decision(
        False, MALFORMED_PATH, 400
    )


def test_two_identities_are_none() -> None:
    decision = evaluate(DecisionProgram(Protocol.HTTP, 80), Request(principal=f"{WEB},evil"), MESH)
    assert (decision.allowed, decision.rule) == (False, MALFORMED_IDENTITY)


def test_strict_refuses_plaintext_before_any_rule() -> None:
    program = DecisionProgram(Protocol.HTTP, 80)
    assert evaluate(program, Request(), MESH, MtlsMode.STRICT) == Decision(False, MTLS_STRICT, 0)
    assert evaluate(program, Request(principal=WEB), MESH, MtlsMode.STRICT).allowed
    assert evaluate(program, Request(), MESH, MtlsMode.PERMISSIVE).allowed


def test_a_disabled_port_sees_no_identity() -> None:
    program = DecisionProgram(
        Protocol.HTTP, 80, allow=(a_clause(Attribute.PRINCIPAL, Exact(WEB)),), allow_applies=True
    )
    assert evaluate(program, Request(principal=WEB), MESH).allowed
    assert not evaluate(program, Request(principal=WEB), MESH, MtlsMode.DISABLE).allowed
