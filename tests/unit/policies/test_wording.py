from ipaddress import ip_address

from policies.authorization_policy import AuthorizationPolicy, parse
from policies.document import Document, Json
from policies.explain import explain
from policies.lower import lower
from policies.program import Protocol
from policies.request import Request
from policies.wording import render, shorten
from policies.workload import MeshSettings, MtlsMode

MESH = MeshSettings("td")
INTRUDER = Request("td/ns/other/sa/intruder", ip_address("10.0.0.1"), "GET", "/orders/7", "orders.shop")


def a_policy(*rules: Json, action: str = "ALLOW", name: str = "orders") -> AuthorizationPolicy:
    value: dict[str, Json] = {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"action": action, "rules": list(rules)} if rules else {},
    }
    lines = {"": 1} | {f"spec.rules[{index}]": 10 * (index + 1) for index in range(len(rules))}
    policy, problems = parse(Document(value, "orders.yaml", lines))
    assert policy is not None, problems
    return policy


def text(
    *policies: AuthorizationPolicy, request: Request = INTRUDER, mode: MtlsMode = MtlsMode.PERMISSIVE
) -> list[str]:
    program = lower(policies, MESH, port=80, protocol=Protocol.HTTP)
    return [
        " ".join(line.split())
        for line in render(explain(program, request, MESH, mode=mode, policies=policies))
    ]


def a_source(**fields: Json) -> dict[str, Json]:
    return {"from": [{"source": fields}]}


def test_the_answer_to_the_question_of_the_first_page() -> None:
    outsiders = a_policy(a_source(notNamespaces=["shop", "other"]), action="DENY", name="no-outsiders")
    health: Json = {
        **a_source(principals=["td/ns/other/sa/intruder"]),
        "to": [{"operation": {"paths": ["/health"]}}],
    }
    orders = a_policy(a_source(principals=["td/ns/shop/sa/web"]), health)
    assert text(outsiders, orders) == [
        "order policy action rule outcome",
        "1 shop/no-outsiders DENY [0] namespace: must not be shop or other, is other orders.yaml:10",
        "2 shop/orders ALLOW [0] principal: wants …/ns/shop/sa/web, is …/ns/other/sa/intruder orders.yaml:10",
        "[1] matched principal; path: wants /health, is /orders/7 orders.yaml:20 ← nearest",
        "decided by: no ALLOW rule matched and at least one ALLOW policy selects the workload.",
        "To allow it: add /orders/7 to paths (rule shop/orders[1] orders.yaml:20).",
    ]


def test_an_allowed_request_needs_no_advice() -> None:
    assert text(a_policy({}))[-1] == "decided by: ALLOW rule shop/orders[0] matched."
    assert text() == [
        "no policy selects this workload",
        "decided by: no DENY rule matched and no ALLOW policy selects the workload.",
    ]


def test_a_deny_names_the_rule_to_narrow() -> None:
    assert text(a_policy({}, action="DENY"))[-2:] == [
        "decided by: DENY rule shop/orders[0] matched.",
        "To allow it: narrow the DENY rule at shop/orders[0] orders.yaml:10.",
    ]


def test_plaintext_to_a_strict_port() -> None:
    lines = text(request=Request(method="GET", path="/"), mode=MtlsMode.STRICT)
    assert lines[1].startswith("decided by: mTLS is STRICT on this port")
    assert "PERMISSIVE" in lines[2]


def test_plaintext_to_a_rule_that_wants_an_identity() -> None:
    lines = text(a_policy(a_source(namespaces=["shop"])), request=Request(method="GET", path="/"))
    assert lines[-1].startswith("To allow it: call with mutual TLS")


def test_allow_nothing() -> None:
    lines = text(a_policy())
    assert "no rules: allows nothing" in lines[1]
    assert lines[-1] == "To allow it: write an ALLOW rule for it; none applies to this port."


def test_what_envoy_refuses_itself_has_no_advice() -> None:
    assert text(request=Request("td/ns/a/sa/b", method="GET", path="/#"))[-1].startswith(
        "decided by: Envoy refuses"
    )
    assert "more than one identity" in text(request=Request("a,b", method="GET", path="/"))[-1]


def test_advice_for_every_kind_of_condition() -> None:
    rule: Json = {
        "to": [{"operation": {"notPaths": ["/orders/*"], "methods": ["PUT"]}}],
        "when": [
            {"key": "request.headers[x-team]", "values": ["red"]},
            {"key": "source.ip", "values": ["10.1.0.0/16"]},
        ],
    }
    assert text(a_policy(rule))[-1] == (
        "To allow it: add GET to methods; take what matches /orders/7 out of notPaths; "
        "send header x-team red; add 10.0.0.1 to values (source ip) (rule shop/orders[0] orders.yaml:10)."
    )


def test_long_lists_are_cut() -> None:
    rule: Json = {"to": [{"operation": {"paths": ["/a", "/b*", "*/c", "/d", "/e"]}}]}
    assert "path: wants /a or /b* or */c or 2 more, is /orders/7" in text(a_policy(rule))[1]


def test_only_identities_are_shortened() -> None:
    assert shorten("td/ns/a/sa/b") == "…/ns/a/sa/b"
    assert shorten("/x/ns/a/sa/b") == "/x/ns/a/sa/b"
    assert shorten("/orders") == "/orders"
