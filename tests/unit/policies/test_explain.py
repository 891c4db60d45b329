from policies.authorization_policy import AuthorizationPolicy, parse
from policies.document import Document, Json
from policies.explain import Explanation, explain
from policies.lower import lower
from policies.program import Protocol
from policies.request import Request
from policies.workload import MeshSettings, MtlsMode

MESH = MeshSettings("td")


def a_policy(*rules: Json, action: str = "ALLOW", name: str = "p") -> AuthorizationPolicy:
    spec: Json = {"action": action, "rules": list(rules)} if rules else {}
    policy, problems = parse(
        Document({"metadata": {"name": name, "namespace": "shop"}, "spec": spec}, "p.yaml")
    )
    assert policy is not None, problems
    return policy


def why(
    *policies: AuthorizationPolicy,
    request: Request | None = None,
    mode: MtlsMode = MtlsMode.PERMISSIVE,
    tcp: bool = False,
) -> Explanation:
    program = lower(policies, MESH, port=80, protocol=Protocol.TCP if tcp else Protocol.HTTP)
    asked = request or Request("td/ns/other/sa/intruder", method="GET", path="/orders")
    return explain(program, asked, MESH, mode=mode, policies=policies)


def a_rule(namespace: str, path: str) -> Json:
    return {"from": [{"source": {"namespaces": [namespace]}}], "to": [{"operation": {"paths": [path]}}]}


def test_the_nearest_rule_is_the_one_with_the_most_held_conditions() -> None:
    found = why(a_policy(a_rule("x", "/x"), a_rule("other", "/health"), a_rule("x", "/orders")))
    assert found.nearest is found.outcomes[1]
    assert [len(outcome.held) for outcome in found.outcomes] == [0, 1, 1]
    assert [step.seen for step in found.outcomes[1].steps] == ["other", "/orders"]
    assert [step.condition.path for step in found.outcomes[1].failed] == [
        "spec.rules[1].to[0].operation.paths"
    ]


def test_only_a_default_deny_has_a_nearest_rule() -> None:
    assert why(a_policy(a_rule("other", "/orders"))).nearest is None
    assert why(a_policy({}, action="DENY"), a_policy(a_rule("x", "/x"), name="q")).nearest is None
    assert why(a_policy()).nearest is None


def test_deny_comes_first_and_every_rule_is_told() -> None:
    found = why(a_policy({}, name="a"), a_policy({}, action="DENY", name="d"))
    assert [(o.action, o.name, o.policy, o.matched) for o in found.outcomes] == [
        ("DENY", "shop/d[0]", "shop/d", True),
        ("ALLOW", "shop/a[0]", "shop/a", True),
    ]
    assert found.decision.rule == "shop/d[0]"


def test_rules_that_lowering_left_out_are_named() -> None:
    other: Json = {"to": [{"operation": {"ports": ["99"]}}]}
    http: Json = {"to": [{"operation": {"paths": ["/"]}}]}
    assert [(u.name, u.reason) for u in why(a_policy(other), a_policy(name="none")).unused] == [
        ("shop/p[0]", "other ports only"),
        ("shop/none", "no rules: allows nothing"),
    ]
    assert [u.policy for u in why(a_policy(http), tcp=True).unused] == ["shop/p"]


def test_the_mode_of_the_port_has_its_say() -> None:
    assert why(request=Request(), mode=MtlsMode.STRICT).decision.rule == "mtls-strict"
    principal = a_policy({"from": [{"source": {"namespaces": ["other"]}}]})
    assert why(principal, mode=MtlsMode.PERMISSIVE).decision.allowed
    disabled = why(principal, mode=MtlsMode.DISABLE)
    assert not disabled.decision.allowed
    assert disabled.outcomes[0].steps[0].seen is None
