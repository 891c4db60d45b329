from dataclasses import replace

from policies.authorization_policy import AuthorizationPolicy, Rule
from policies.authorizer import Authorizer, Speaks
from policies.judge import Result, run
from policies.peer_authentication import PeerAuthentication
from policies.policy_test import Case, Expect, PolicyTest
from policies.program import Action, Protocol
from policies.request import Request
from policies.workload import MeshSettings, MtlsMode, Workload

MESH = MeshSettings("td", root_namespace="root")
B = Workload("shop", "b", "b", {"app": "b"})
DENY_ALL = AuthorizationPolicy("shop", "none", Action.DENY, rules=(Rule(),))


def a_case(expect: str = "allow", *, status: int = 0, rule: str = "", principal: str | None = None) -> Case:
    request = Request(principal, method="GET", path="/")
    return Case("1", B, 80, Protocol.HTTP, request, Expect(expect), status, rule)


def judged(case: Case, test: PolicyTest) -> Result:
    [result] = run(replace(test, cases=(case,)), now=0)
    return result


def test_what_is_expected_and_what_is_not() -> None:
    test = PolicyTest("t", MESH, policies=(DENY_ALL,))
    assert judged(a_case("deny"), test) == Result("t", "1", "deny", "deny", 403, "shop/none[0]", True)
    assert not judged(a_case("allow"), test).ok


def test_status_and_rule_are_checked_where_they_are_asked() -> None:
    test = PolicyTest("t", MESH, policies=(DENY_ALL,))
    assert judged(a_case("deny", status=403, rule="shop/none[0]"), test).ok
    assert not judged(a_case("deny", status=401), test).ok
    assert not judged(a_case("deny", rule="shop/none[1]"), test).ok


def test_strict_refuses_plaintext() -> None:
    strict = PolicyTest(
        "t", MESH, peer_authentications=(PeerAuthentication("shop", "p", mode=MtlsMode.STRICT),)
    )
    assert judged(a_case("deny"), strict).rule == "mtls-strict"
    assert judged(a_case("allow", principal="td/ns/a/sa/b"), strict).ok
    assert judged(a_case("allow"), PolicyTest("t", MESH)).ok
    assert judged(a_case("deny"), PolicyTest("t", MESH, MtlsMode.STRICT)).rule == "mtls-strict"


def test_a_dry_run_is_judged_beside_the_answer() -> None:
    tried = PolicyTest("t", MESH, policies=(replace(DENY_ALL, dry_run=True),))
    expected = replace(a_case("allow"), dry_run_deny=Expect.DENY)
    assert judged(expected, tried) == Result(
        "t", "1", "allow", "allow", 200, "default-allow", True, (("deny", "deny"),)
    )
    assert not judged(replace(expected, dry_run_deny=Expect.ALLOW), tried).ok
    assert not judged(replace(expected, dry_run_allow=Expect.ALLOW), tried).ok
    assert judged(expected, tried).to_json()["dryRun"] == {"deny": "deny"}


def test_an_authorizer_answers_as_the_case_says_and_else_denies() -> None:
    asks = AuthorizationPolicy("shop", "ask", Action.CUSTOM, rules=(Rule(),), provider="guard")
    guard = Authorizer("guard", Speaks.HTTP, "guard.shop", 8000)
    test = PolicyTest("t", replace(MESH, authorizers=(guard,)), policies=(asks,))
    assert judged(replace(a_case("allow"), authorizers={"guard": True}), test).ok
    assert judged(a_case("deny", status=403, rule="shop/ask[0]"), test).ok
    undeclared = PolicyTest("t", MESH, policies=(asks,))
    assert judged(replace(a_case("deny"), authorizers={"guard": True}), undeclared).ok


def test_json_is_as_promised() -> None:
    result = judged(a_case(), PolicyTest("t", MESH)).to_json()
    assert list(result) == ["test", "id", "expect", "actual", "status", "rule", "ok"]
