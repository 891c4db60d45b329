"""The folds agree with each other, and with a second evaluator written straight from the YAML objects.

The second one shares no code with `lower` and `evaluate`: it reads rules as the reference words them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from policies import peer_authentication, policy_test
from policies.authorization_policy import AuthorizationPolicy, parse
from policies.document import Document
from policies.evaluate import Decision, evaluate
from policies.explain import explain
from policies.lower import lower
from policies.program import DEFAULT_ALLOW, DEFAULT_DENY, DecisionProgram, Protocol
from policies.request import Request
from policies.scope import may_ever_allow
from policies.select import select
from policies.wording import render
from policies.workload import MeshSettings, PathNormalization, Workload

MESH = MeshSettings("td", ("old",), "root", PathNormalization.NONE)
TARGET = Workload("shop", "b", "b", {"app": "b"})
HTTP_FIELDS = {"hosts", "methods", "paths", "requestPrincipals"}

VALUES: dict[str, list[str]] = {
    "principals": [
        "td/ns/a/sa/x", "old/ns/a/sa/x", "cluster.local/ns/b/sa/y", "*", "td/*", "*/sa/y", "*/ns/a/sa/x",
        "other",
    ],
    "namespaces": ["a", "b", "a*", "*b", "*", "*h*p"],
    "trustDomains": ["td", "old", "t*", "*d", "*", "q"],
    "remoteIpBlocks": ["192.0.2.0/24", "10.0.0.0/8"],
    "requestPrincipals": ["me/s", "*", "me/*", "me/s*", "*/s", "*e/s", "m*", "*s", "me", "*/*"],
    "serviceAccounts": ["x", "a/x", "shop/x", "b/y"],
    "ipBlocks": ["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"],
    "hosts": ["A.shop", "*.shop", "a.*", "*"],
    "methods": ["GET", "P*", "*T", "*"],
    "paths": ["/a", "/a*", "*/b", "*", "/a/b", "/{*}/b", "/a/{**}", "/{**}/b"],
    "ports": ["80", "81", "080"],
}  # fmt: skip
WHEN: dict[str, list[str]] = {
    "source.principal": VALUES["principals"],
    "source.namespace": VALUES["namespaces"],
    "source.serviceAccount": VALUES["serviceAccounts"],
    "source.ip": VALUES["ipBlocks"],
    "destination.port": VALUES["ports"],
    "source.trustDomain": VALUES["trustDomains"],
    "remote.ip": VALUES["remoteIpBlocks"],
    "destination.ip": ["10.9.0.1", "10.8.0.0/16"],
    "connection.sni": ["b.shop", "*.shop", "b*", "*"],
    "request.auth.principal": VALUES["requestPrincipals"],
    "request.auth.audiences": ["red", "r*", "*"],
    "request.auth.claims[realm][roles]": ["red", "*d", "*"],
    "request.headers[X-Team]": ["red", "r*", "*d", "*"],
}


def some(values: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3)


def an_object(*names: str) -> st.SearchStrategy[dict[str, list[str]]]:
    """One or two of the fields or of their not forms."""
    fields = {name: some(VALUES[name]) for name in names}
    fields |= {not_(name): some(VALUES[name]) for name in names}
    keys = st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=2, unique=True)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


def not_(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


SOURCES = st.one_of(
    an_object("principals", "namespaces", "trustDomains", "ipBlocks", "remoteIpBlocks", "requestPrincipals"),
    an_object("serviceAccounts", "ipBlocks", "trustDomains"),
)
CONDITIONS = st.sampled_from(sorted(WHEN)).flatmap(
    lambda key: st.one_of(
        st.fixed_dictionaries({"key": st.just(key), "values": some(WHEN[key])}),
        st.fixed_dictionaries({"key": st.just(key), "notValues": some(WHEN[key])}),
        st.fixed_dictionaries({"key": st.just(key), "values": some(WHEN[key]), "notValues": some(WHEN[key])}),
    )
)
RULES = st.fixed_dictionaries(
    {},
    optional={
        "from": st.lists(SOURCES.map(lambda source: {"source": source}), min_size=1, max_size=2),
        "to": st.lists(
            an_object("hosts", "methods", "paths", "ports").map(lambda operation: {"operation": operation}),
            min_size=1,
            max_size=2,
        ),
        "when": st.lists(CONDITIONS, max_size=2),
    },
)
POLICIES = st.one_of(
    st.fixed_dictionaries({"action": st.just("ALLOW"), "rules": st.lists(RULES, max_size=3)}),
    st.fixed_dictionaries({"action": st.just("DENY"), "rules": st.lists(RULES, min_size=1, max_size=2)}),
)
MESHES = st.lists(POLICIES, max_size=3)
REQUESTS = st.builds(
    Request,
    principal=st.sampled_from(
        [None, "td/ns/a/sa/x", "old/ns/a/sa/x", "td/ns/b/sa/y", "td/ns/shop/sa/x", "other", "td/q/ns/a/sa/x"]
    ),
    source_ip=st.sampled_from(
        [None, *map(ip_address, ("10.0.0.1", "10.2.0.1", "192.0.2.1", "::1", "2001:db8::5"))]
    ),
    method=st.sampled_from(["GET", "PUT", "POST"]),
    path=st.sampled_from(["/", "/a", "/a/b", "/ab?x=/b", "/c/b"]),
    host=st.sampled_from(["", "a.shop", "A.SHOP", "b.shop", "a.x"]),
    headers=st.sampled_from([{}, {"x-team": "red"}, {"x-team": "rod"}, {"x-team": ""}]),
    remote_ip=st.sampled_from([None, ip_address("192.0.2.7"), ip_address("10.0.0.9")]),
    destination_ip=st.sampled_from([None, ip_address("10.9.0.1")]),
    sni=st.sampled_from(["", "b.shop", "shop"]),
    claims=st.sampled_from(
        [
            None,
            {"iss": "me", "sub": "s", "aud": "red"},
            {"iss": "me", "sub": "", "aud": ["x", "rod"]},
            {"iss": "m", "sub": "sss", "realm": {"roles": ["red", 1]}},
            {"iss": "me", "realm": {"roles": "rod"}, "aud": 5},
            {"sub": "s", "realm": "roles"},
        ]
    ),
)
PROTOCOLS = st.sampled_from(list(Protocol))
PORTS = st.sampled_from([80, 81, 82])


def parsed(specs: list[dict[str, Any]]) -> tuple[AuthorizationPolicy, ...]:
    found: list[AuthorizationPolicy] = []
    for index, spec in enumerate(specs):
        metadata = {"name": f"p{index}", "namespace": ("shop", "root")[index % 2]}
        policy, problems = parse(Document({"metadata": metadata, "spec": spec}))
        assert policy is not None, problems
        found.append(policy)
    return select(found, TARGET, MESH)


def a_program(specs: list[dict[str, Any]], port: int, protocol: Protocol) -> DecisionProgram:
    return lower(parsed(specs), MESH, port=port, protocol=protocol)


# --- the second evaluator ---


def text_fits(value: str, text: str | None) -> bool:
    if text is None:
        return False
    if value == "*":
        return text != ""
    if value.startswith("*"):
        return text.endswith(value[1:])
    return text.startswith(value[:-1]) if value.endswith("*") else text == value


def identity(principal: str | None) -> tuple[str, str] | None:
    parts = (principal or "").split("/")
    return (parts[2], parts[4]) if len(parts) == 5 and parts[1] == "ns" and parts[3] == "sa" else None


def namespace_of(principal: str | None) -> str | None:
    parts = (principal or "").split("/")
    return parts[2] if len(parts) > 3 and parts[1] == "ns" else None


def principal_fits(value: str, principal: str | None) -> bool:
    parts = value.split("/")
    if len(parts) == 5 and parts[0] in ("td", "old", "cluster.local"):
        return any(text_fits("/".join([domain, *parts[1:]]), principal) for domain in ("td", "old"))
    return text_fits(value, principal)


def request_principal_fits(value: str, claims: Mapping[str, Any] | None) -> bool:
    """The table of the reference, row by row."""
    issuer, subject = (claims or {}).get("iss"), (claims or {}).get("sub")
    if issuer is None or subject is None:
        return False
    head, slash, tail = value.rpartition("/")
    if value == "*":
        return issuer != "" and subject != ""
    if not slash and value.startswith("*"):
        return issuer != "" and subject.endswith(value[1:])
    if not slash and value.endswith("*"):
        return issuer.startswith(value[:-1]) and subject != ""
    if not slash:
        return issuer == value and subject == ""
    if value.startswith("*"):
        return (issuer != "" if head == "*" else issuer.endswith(head[1:])) and subject == tail
    if tail == "*":
        return issuer == head and subject != ""
    return issuer == head and (subject.startswith(tail[:-1]) if tail.endswith("*") else subject == tail)


def path_fits(value: str, path: str) -> bool:
    if "{" not in value:
        return text_fits(value, path)
    # segment by segment: {*} is one that is not empty, {**} any text
    head, any_, tail = value.partition("{**}")
    if not any_:
        wanted, given = value.split("/"), path.split("/")
        pairs = zip(wanted, given, strict=False)
        return len(wanted) == len(given) and all(b != "" if a == "{*}" else a == b for a, b in pairs)
    return path.startswith(head) and path[len(head) :].endswith(tail)


def namespace_fits(value: str, namespace: str | None) -> bool:
    return namespace is not None and fnmatchcase(namespace, value) and (value != "*" or namespace != "")


def claim(request: Request, *path: str) -> list[str]:
    value: Any = request.claims
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def value_fits(field: str, value: str, request: Request, port: int, namespace: str) -> bool:
    who = identity(request.principal)
    match field:
        case "principals" | "source.principal":
            return principal_fits(value, request.principal)
        case "namespaces" | "source.namespace":
            return namespace_fits(value, namespace_of(request.principal))
        case "trustDomains" | "source.trustDomain":
            domain, slash, _ = (request.principal or "").partition("/")
            own = ("td", "old") if value in ("td", "old") else (value,)
            if value == "*":
                return request.principal is not None
            return bool(slash) and any(text_fits(one, domain) for one in own)
        case "requestPrincipals" | "request.auth.principal":
            return request_principal_fits(value, request.claims)
        case "request.auth.audiences":
            return any(text_fits(value, text) for text in claim(request, "aud"))
        case "request.auth.claims[realm][roles]":
            return any(text_fits(value, text) for text in claim(request, "realm", "roles"))
        case "remoteIpBlocks" | "remote.ip":
            remote = request.remote_ip or request.source_ip
            return remote is not None and remote in ip_network(value)
        case "destination.ip":
            return request.destination_ip is not None and request.destination_ip in ip_network(value)
        case "connection.sni":
            return text_fits(value, request.sni or None)
        case "serviceAccounts" | "source.serviceAccount":
            wanted = tuple(value.split("/")) if "/" in value else (namespace, value)
            return who == wanted
        case "ipBlocks" | "source.ip":
            return request.source_ip is not None and request.source_ip in ip_network(value)
        case "hosts":
            return text_fits(value.lower(), request.host.lower() or None)
        case "methods":
            return text_fits(value, request.method)
        case "paths":
            return path_fits(value, request.path.split("?")[0])
        case "ports" | "destination.port":
            return int(value) == port
        case _:
            sent = request.headers.get("x-team")
            return sent is not None if value == "*" else text_fits(value, sent)


class Reference:
    """Decides as the reference words it: lists are OR, fields AND, rules OR; DENY before ALLOW."""

    def __init__(self, request: Request, port: int, protocol: Protocol) -> None:
        self.request, self.port, self.tcp = request, port, protocol is Protocol.TCP

    def decide(self, policies: list[tuple[str, str, dict[str, Any]]]) -> tuple[bool, str]:
        for namespace, name, spec in policies:
            for index, rule in enumerate(spec["rules"] if spec["action"] == "DENY" else []):
                if self.rule(rule, namespace):
                    return False, f"{namespace}/{name}[{index}]"
        allows = [policy for policy in policies if policy[2]["action"] == "ALLOW"]
        for namespace, name, spec in allows:
            for index, rule in enumerate(spec["rules"]):
                if not (self.tcp and needs_http(rule)) and self.rule(rule, namespace):
                    return True, f"{namespace}/{name}[{index}]"
        return (False, DEFAULT_DENY) if allows else (True, DEFAULT_ALLOW)

    def rule(self, rule: dict[str, Any], namespace: str) -> bool:
        sources = [entry["source"] for entry in rule.get("from", [])] or [{}]
        operations = [entry["operation"] for entry in rule.get("to", [])] or [{}]
        return (
            any(self.object(source, namespace) for source in sources)
            and any(self.object(operation, namespace) for operation in operations)
            and all(self.condition(condition, namespace) for condition in rule.get("when", []))
        )

    def object(self, fields: dict[str, list[str]], namespace: str) -> bool:
        for name, values in fields.items():
            positive = not name.startswith("not")
            field = name if positive else name[3].lower() + name[4:]
            if self.tcp and field in HTTP_FIELDS:
                continue
            if any(self.fits(field, value, namespace) for value in values) is not positive:
                return False
        return True

    def condition(self, condition: dict[str, Any], namespace: str) -> bool:
        key = condition["key"]
        if self.tcp and key.startswith("request."):
            return True
        fits = [self.fits(key, value, namespace) for value in condition.get("values", [])]
        unfits = [self.fits(key, value, namespace) for value in condition.get("notValues", [])]
        return ("values" not in condition or any(fits)) and not any(unfits)

    def fits(self, field: str, value: str, namespace: str) -> bool:
        return value_fits(field, value, self.request, self.port, namespace)


def needs_http(rule: dict[str, Any]) -> bool:
    names = {name for entry in rule.get("to", []) for name in entry["operation"]}
    names |= {name for entry in rule.get("from", []) for name in entry["source"]}
    http = HTTP_FIELDS | {not_(name) for name in HTTP_FIELDS}
    return bool(names & http) or any(c["key"].startswith("request.") for c in rule.get("when", []))


# --- the properties ---


@settings(max_examples=250, deadline=None)
@given(MESHES, REQUESTS, PORTS, PROTOCOLS)
def test_the_reference_decides_the_same(
    specs: list[dict[str, Any]], request: Request, port: int, protocol: Protocol
) -> None:
    names = [(("shop", "root")[index % 2], f"p{index}", spec) for index, spec in enumerate(specs)]
    ordered = sorted(names, key=lambda item: (item[0] != "root", item[0], item[1]))
    wanted = Reference(request, port, protocol).decide(ordered)
    decision = evaluate(a_program(specs, port, protocol), request, MESH)
    assert (decision.allowed, decision.rule) == wanted


@settings(max_examples=100, deadline=None)
@given(MESHES, REQUESTS, PORTS, PROTOCOLS)
def test_explain_agrees_with_evaluate(
    specs: list[dict[str, Any]], request: Request, port: int, protocol: Protocol
) -> None:
    program = a_program(specs, port, protocol)
    decision = evaluate(program, request, MESH)
    found = explain(program, request, MESH, policies=parsed(specs))
    assert found.decision == decision
    matched = [o.name for o in found.outcomes if o.matched and (o.action == "ALLOW") is decision.allowed]
    assert (decision.rule in (DEFAULT_ALLOW, DEFAULT_DENY)) or matched[0] == decision.rule
    if decision.rule == DEFAULT_DENY:
        assert not any(outcome.matched for outcome in found.outcomes)
    named = {outcome.name for outcome in found.outcomes} | {item.name for item in found.unused}
    assert {policy.full_name for policy in parsed(specs)} == {name.partition("[")[0] for name in named}
    assert render(found)


@settings(max_examples=100, deadline=None)
@given(MESHES, REQUESTS.filter(lambda request: request.principal is not None), PORTS, PROTOCOLS)
def test_scope_never_hides_what_may_be_called(
    specs: list[dict[str, Any]], request: Request, port: int, protocol: Protocol
) -> None:
    program = a_program(specs, port, protocol)
    if evaluate(program, request, MESH).allowed:
        assert may_ever_allow(program, request.principal or "")


@settings(max_examples=100, deadline=None)
@given(MESHES, REQUESTS, PORTS, PROTOCOLS, st.randoms(use_true_random=False))
def test_the_order_of_values_and_entries_decides_nothing(
    specs: list[dict[str, Any]], request: Request, port: int, protocol: Protocol, chance: random.Random
) -> None:
    def decide(of: list[dict[str, Any]]) -> Decision:
        return evaluate(a_program(of, port, protocol), request, MESH)

    mixed = [{**spec, "rules": [shuffled(rule, chance) for rule in spec["rules"]]} for spec in specs]
    assert decide(mixed) == decide(specs)


def shuffled(value: Any, chance: random.Random) -> Any:
    """Every list inside a rule in another order."""
    match value:
        case dict():
            return {name: shuffled(inner, chance) for name, inner in value.items()}
        case list():
            mixed = [shuffled(inner, chance) for inner in value]
            chance.shuffle(mixed)
            return mixed
        case _:
            return value


KEYS = st.sampled_from(
    [
        "metadata", "name", "namespace", "annotations", "spec", "selector", "matchLabels", "action", "rules",
        "from", "to", "when", "source", "operation", "principals", "notPaths", "paths", "ports", "ipBlocks",
        "serviceAccounts", "key", "values", "mtls", "mode", "portLevelMtls", "targetRefs", "80",
    ]
)  # fmt: skip
WORDS = st.sampled_from(["DENY", "STRICT", "source.ip", "*", "x"])
JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.text(max_size=5),
        st.sampled_from(["DENY", "source.ip", "*"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=4), st.dictionaries(KEYS, JSON, max_size=4))
def test_any_json_ends_in_a_policy_or_in_problems(value: dict[str, Any], spec: dict[str, Any]) -> None:
    document = Document({**value, "spec": spec})
    for parser in (parse, peer_authentication.parse):
        found, problems = parser(document)
        assert (found is None) is any(problem.is_error for problem in problems)
    policy, problems = policy_test.parse(document, [Document({**value, "kind": "AuthorizationPolicy"})])
    assert policy is None
    assert problems
