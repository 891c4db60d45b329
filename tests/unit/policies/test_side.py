from policies.authorization_policy import AuthorizationPolicy, parse
from policies.document import Document
from policies.peer_authentication import PeerAuthentication
from policies.program import QUARANTINE, Protocol, Revoked
from policies.request import Request
from policies.side import Policies, Target, Witness, mode_of, selected, side
from policies.workload import MeshSettings, MtlsMode, Workload

TARGET = Target(Workload("shop", "b", "b", {"app": "b"}), 80, Protocol.HTTP)
WHO = "td/ns/a/sa/x"


def a_policy(namespace: str = "shop") -> AuthorizationPolicy:
    value = {"metadata": {"name": "p", "namespace": namespace}, "spec": {"rules": [{}]}}
    found, problems = parse(Document(value))  # pyright: ignore[reportArgumentType] - JSON written as Python
    assert found is not None, problems
    return found


def test_everything_that_decides_is_in_it() -> None:
    permissive = PeerAuthentication("shop", "default", mode=MtlsMode.PERMISSIVE)
    mine, other = a_policy(), a_policy("pay")
    policies = Policies(MeshSettings("td"), (other, mine), (permissive,), revoked=Revoked(frozenset({WHO})))
    one = side(policies, TARGET)
    assert selected(policies, TARGET.workload) == (mine,)
    assert mode_of(policies, TARGET).decided_by == permissive
    assert one.decide(Witness(Request(None, method="GET", path="/"))).rule == "shop/p[0]"
    assert one.decide(Witness(Request(WHO, method="GET", path="/"))).rule == QUARANTINE


def test_where_a_rule_is_written() -> None:
    policies = Policies(MeshSettings("td"), (a_policy(),))
    assert policies.rule_origin("shop/p[0]") == policies.authorization[0].rules[0].origin
    assert str(policies.rule_origin("default-deny")) == ""
