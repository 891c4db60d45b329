"""What `suggest` gives, written out, read again and applied, allows the request, and takes nothing from anybody."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.authorization_policy import AuthorizationPolicy, parse
from policies.diff import diff
from policies.document import Document
from policies.lower import lower
from policies.peer_authentication import PeerAuthentication
from policies.problem import Origin
from policies.program import Action, Protocol
from policies.request import Request
from policies.side import Policies, Target, Witness, side
from policies.suggest import suggest
from policies.workload import MeshSettings, MtlsMode, Workload
from policies.write import write

MESH = MeshSettings("td", ("old",))
LISTS = {
    "principals": ["td/ns/a/sa/x", "td/*", "*", "old/ns/b/sa/y"],
    "namespaces": ["a", "b"],
    "ipBlocks": ["10.0.0.0/8"],
    "methods": ["GET", "P*", "*"],
    "paths": ["/a", "/a*", "*/b", "/{*}", "*"],
    "ports": ["80", "81"],
    "hosts": ["a.shop", "*"],
}


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    lists = {n: st.lists(st.sampled_from(LISTS[n]), min_size=1, max_size=2, unique=True) for n in names}
    lists |= {f"not{n[0].upper()}{n[1:]}": lists[n] for n in names}
    keys = st.lists(st.sampled_from(sorted(lists)), min_size=1, max_size=3, unique=True)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({n: lists[n] for n in chosen}))


WHEN = st.sampled_from(["source.ip", "request.headers[x]", "source.principal"]).flatmap(
    lambda key: st.fixed_dictionaries(
        {
            "key": st.just(key),
            "notValues": st.just(["10.0.0.9"] if key == "source.ip" else ["td/ns/q/sa/q"]),
        }
    )
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(fields("principals", "namespaces", "ipBlocks").map(lambda s: {"source": s}), min_size=1, max_size=2),
        "to": st.lists(fields("methods", "paths", "ports", "hosts").map(lambda o: {"operation": o}), min_size=1, max_size=2),
        "when": st.lists(WHEN, max_size=1),
    },
)  # fmt: skip
SPECS = st.lists(
    st.fixed_dictionaries(
        {"action": st.sampled_from(["ALLOW", "DENY"]), "rules": st.lists(RULES, min_size=1, max_size=2)}
    ),
    min_size=1,
    max_size=3,
)
REQUESTS = st.builds(
    Request,
    principal=st.sampled_from([None, "td/ns/a/sa/x", "old/ns/b/sa/y", "td/odd"]),
    source_ip=st.sampled_from([ip_address("10.0.0.1"), ip_address("192.0.2.1")]),
    method=st.sampled_from(["GET", "PUT"]),
    path=st.sampled_from(["/a", "/a/b?x=1", "/c//d", "/{id}/x", "/star*"]),
    host=st.sampled_from(["", "a.shop"]),
    headers=st.sampled_from([{}, {"x": "1"}]),
)
PROTOCOLS = st.sampled_from(list(Protocol))


def read(value: Any) -> AuthorizationPolicy:
    policy, problems = parse(Document(value))
    assert policy is not None, problems
    return policy


def a_policy(index: int, spec: dict[str, Any]) -> AuthorizationPolicy:
    return read({"metadata": {"name": f"p{index}", "namespace": "shop"}, "spec": spec})


@settings(max_examples=120, deadline=None)
@given(SPECS, REQUESTS, PROTOCOLS)
def test_the_suggestion_allows_the_request_and_takes_nothing(
    specs: list[dict[str, Any]], request: Request, protocol: Protocol
) -> None:
    permissive = PeerAuthentication("shop", "default", mode=MtlsMode.PERMISSIVE)
    found = tuple(a_policy(index, spec) for index, spec in enumerate(specs))
    before = Policies(MESH, found, (permissive,))
    target = Target(Workload("shop", "b", "b", {"app": "b"}), 80, protocol)
    if protocol is Protocol.TCP:
        request = Request(request.principal, request.source_ip)
    suggestion = suggest(before, target, request)
    if side(before, target).decide(Witness(request)).allowed:
        assert not suggestion.changed
        return
    assert suggestion.changed, suggestion.reason
    changed = {p.full_name: p for p in (read(write(policy)) for policy in suggestion.changed)}
    kept = [p for p in before.authorization if p.full_name not in changed]
    after = replace(before, authorization=(*kept, *changed.values()))
    assert side(after, target).decide(Witness(request)).allowed
    difference = diff(before, after, [target])
    assert all(change.gained for change in difference.changes)
    asked = {(c.witness.request.principal, c.witness.request.method) for c in difference.changes}
    if protocol is Protocol.HTTP:
        assert {method for _, method in asked} == {request.method}


@settings(max_examples=100, deadline=None)
@given(SPECS, PROTOCOLS)
def test_what_is_written_is_read_as_the_same_policy(specs: list[dict[str, Any]], protocol: Protocol) -> None:
    for index, spec in enumerate(specs):
        policy = a_policy(index, spec)
        again = read(write(policy))
        assert (again.action, again.selector) == (policy.action, policy.selector)
        first, second = (lower([p], MESH, port=80, protocol=protocol) for p in (policy, again))
        for action in ("allow", "deny"):
            assert [strip(c) for c in getattr(first, action)] == [strip(c) for c in getattr(second, action)]


def strip(clause: Any) -> Any:
    conditions = tuple(replace(c, path="", origin=Origin()) for c in clause.conditions)
    return replace(clause, conditions=conditions, origin=Origin())


def test_every_field_is_written() -> None:
    value: Any = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "shop", "annotations": {"istio.io/dry-run": "true"}},
        "spec": {
            "selector": {"matchLabels": {"app": "b"}},
            "action": "DENY",
            "rules": [
                {
                    "from": [{"source": {"requestPrincipals": ["i/s"], "notTrustDomains": ["x"]}}],
                    "to": [{"operation": {"hosts": ["a"], "notPorts": ["80"]}}],
                    "when": [{"key": "request.auth.claims[a][b]", "values": ["1"]}],
                }
            ],
        },
    }
    assert write(read(value)) == value
    custom: Any = {
        **value,
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"action": "CUSTOM", "provider": {"name": "x"}, "rules": [{}]},
    }
    assert write(read(custom)) == custom
    assert read(custom).action is Action.CUSTOM
