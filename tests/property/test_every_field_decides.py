"""Every field of the three policy kinds changes something that is decided: none is accepted and not enforced.

The fields come from the parsers themselves (`shape_of`), so a new field without a row here fails. A row has a
spec without and with the field; what the two decide about some requests must differ: verdict, status, deciding
rule, what is asked of authorizers, audited, tried, forwarded, admitted, or fetched.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from bench.envoy_cases import Signer
from controlplane.resources.shape import Shape, shape_of
from policies import authorization_policy, peer_authentication, request_authentication
from policies.asked import Form
from policies.authorizer import Authorizer, Speaks
from policies.document import Document
from policies.evaluate import Facts, Outside, authenticated, evaluate, evaluate_dry_run
from policies.lower import lower
from policies.program import DecisionProgram, Protocol
from policies.request import Request
from policies.select import select
from policies.workload import MeshSettings, MtlsMode, PathNormalization, Workload

Spec = dict[str, Any]

ASKED = Authorizer("guard", Speaks.HTTP, "guard.shop", 80)
MESH = MeshSettings(
    "td", (), "root", PathNormalization.NONE, (ASKED, Authorizer("two", Speaks.HTTP, "two.shop", 80))
)
TARGET = Workload("shop", "b", "b", {"app": "b"})
SIGNER = Signer()
NOW = 1_800_000_000
CLAIMS = {
    "iss": "me",
    "sub": "s",
    "aud": "red",
    "azp": "blue",
    "realm": {"roles": ["red"]},
    "words": "red blue",
}
WHO = "td/ns/a/sa/x"


def a_request(**fields: Any) -> Request:
    made: dict[str, Any] = {
        "principal": WHO, "source_ip": ip_address("10.0.0.1"), "remote_ip": ip_address("192.0.2.1"),
        "destination_ip": ip_address("10.0.0.2"), "sni": "b.shop", "method": "GET", "path": "/a", "host": "b.shop",
        "headers": {"x-team": "red"},
    }  # fmt: skip
    return Request(**{**made, **fields})


TOKEN = SIGNER.token(CLAIMS)
REQUESTS = (
    a_request(claims=CLAIMS),
    a_request(principal="td/ns/shop/sa/y", source_ip=ip_address("10.9.0.1"), remote_ip=ip_address("203.0.113.1"),
              method="PUT", path="/b", host="c.shop", headers={}),
    a_request(principal=None, sni=""),
    a_request(headers={"authorization": f"Bearer {TOKEN}"}),
    a_request(headers={"authorization": f"Bearer {SIGNER.token({**CLAIMS, 'iss': 'you'})}"}),
    a_request(headers={"x-token": TOKEN}),
    a_request(headers={"x-token": f"T {TOKEN}"}),
    a_request(headers={"authorization": "Bearer garbage"}),
    a_request(path=f"/a?tok={TOKEN}"),
    a_request(headers={"cookie": f"jar={TOKEN}"}),
)  # fmt: skip

LIST = {
    "principals": [WHO], "requestPrincipals": ["me/s"], "namespaces": ["a"], "serviceAccounts": ["a/x"],
    "trustDomains": ["td"], "ipBlocks": ["10.0.0.1"], "remoteIpBlocks": ["192.0.2.1"],
    "hosts": ["b.shop"], "methods": ["GET"], "paths": ["/a"], "ports": ["80"],
}  # fmt: skip


def not_(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


def rules(*entries: Spec) -> Spec:
    return {"rules": list(entries)}


def authorization_rows() -> Iterator[tuple[str, Spec, Spec]]:
    for name, values in LIST.items():
        side, inner = ("from", "source") if name in list(LIST)[:7] else ("to", "operation")
        # each list against the same rule without it
        for field in (name, not_(name)):
            listed = ["81"] if field == "ports" else values
            other = {"notMethods": ["X"]} if inner == "operation" else {"notIpBlocks": ["9.9.9.9"]}
            yield (
                f"rules.{side}.{inner}.{field}",
                rules({side: [{inner: other}]}),
                rules({side: [{inner: {**other, field: listed}}]}),
            )
    empty = rules({"to": [{"operation": {"methods": ["GET"]}}]})
    yield "selector.matchLabels.*", empty, {**empty, "selector": {"matchLabels": {"app": "other"}}}
    yield "action", rules({}), {"action": "DENY", **rules({})}
    yield (
        "provider.name",
        *({"action": "CUSTOM", "provider": {"name": name}, **rules({})} for name in ("guard", "nobody")),
    )
    for field in ("group", "kind", "name", "namespace"):
        yield f"targetRef.{field}", empty, {**empty, "targetRef": {"kind": "Service", "name": "x"}}
        yield f"targetRefs.{field}", empty, {**empty, "targetRefs": [{"kind": "Service", "name": "x"}]}
    for key, values in (
        ("source.principal", [WHO]), ("source.ip", ["10.0.0.1"]), ("remote.ip", ["192.0.2.1"]),
        ("source.namespace", ["a"]), ("source.serviceAccount", ["a/x"]), ("source.trustDomain", ["td"]),
        ("request.auth.principal", ["me/s"]), ("request.auth.audiences", ["red"]),
        ("request.auth.presenter", ["blue"]), ("request.auth.claims[realm][roles]", ["red"]),
        ("request.headers[x-team]", ["red"]), ("destination.ip", ["10.0.0.3"]), ("destination.port", ["81"]),
        ("connection.sni", ["b.shop"]), ("experimental.envoy.filters.a[b]", ["c"]),
    ):  # fmt: skip
        yield "rules.when.key", rules({}), rules({"when": [{"key": key, "values": values}]})
        yield "rules.when.values", rules({}), rules({"when": [{"key": key, "values": values}]})
        only = {"when": [{"key": key, "values": values}]}
        none = {"when": [{"key": key, "values": values, "notValues": values}]}
        deny = {"action": "DENY", **rules({"when": [{"key": key, "notValues": ["9.9.9.9"]}]})}
        if key not in ("destination.port", "destination.ip", "experimental.envoy.filters.a[b]"):
            yield "rules.when.notValues", rules(only), rules(none)
        elif key == "destination.ip":
            yield "rules.when.notValues", rules({}), deny


def token_rules(**fields: Any) -> Spec:
    return {"jwtRules": [{"issuer": "me", "jwks": SIGNER.jwks, **fields}]}


def request_rows() -> Iterator[tuple[str, Spec, Spec]]:
    one = token_rules()
    place = {"fromHeaders": [{"name": "x-token"}]}
    yield "selector.matchLabels.*", one, {**one, "selector": {"matchLabels": {"app": "other"}}}
    for field in ("group", "kind", "name", "namespace"):
        yield f"targetRef.{field}", one, {**one, "targetRef": {"kind": "Service", "name": "x"}}
        yield f"targetRefs.{field}", one, {**one, "targetRefs": [{"kind": "Service", "name": "x"}]}
    yield "jwtRules.issuer", one, token_rules(issuer="you")
    yield "jwtRules.audiences", one, token_rules(audiences=["blue"])
    yield "jwtRules.jwks", one, token_rules(jwks='{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}')
    fetched = {"jwtRules": [{"issuer": "me", "jwksUri": "https://idp/keys"}]}
    yield "jwtRules.jwksUri", fetched, {"jwtRules": [{"issuer": "me", "jwksUri": "https://other/keys"}]}
    yield "jwtRules.timeout", fetched, {"jwtRules": [{**fetched["jwtRules"][0], "timeout": "1s"}]}
    yield "jwtRules.fromHeaders.name", one, token_rules(**place)
    yield (
        "jwtRules.fromHeaders.prefix",
        token_rules(**place),
        token_rules(fromHeaders=[{"name": "x-token", "prefix": "T "}]),
    )
    yield "jwtRules.fromParams", one, token_rules(fromParams=["tok"])
    yield "jwtRules.fromCookies", one, token_rules(fromCookies=["jar"])
    yield "jwtRules.forwardOriginalToken", one, token_rules(forwardOriginalToken=True)
    yield "jwtRules.outputPayloadToHeader", one, token_rules(outputPayloadToHeader="x-payload")
    claim = token_rules(outputClaimToHeaders=[{"header": "x-sub", "claim": "sub"}])
    yield "jwtRules.outputClaimToHeaders.header", one, claim
    yield (
        "jwtRules.outputClaimToHeaders.claim",
        claim,
        token_rules(outputClaimToHeaders=[{"header": "x-sub", "claim": "azp"}]),
    )
    yield "jwtRules.spaceDelimitedClaims", one, token_rules(spaceDelimitedClaims=["words"])
    yield "jwtRules.presence", one, token_rules(presence="REQUIRED")


def peer_rows() -> Iterator[tuple[str, Spec, Spec]]:
    strict = {"mtls": {"mode": "STRICT"}}
    mine = {"selector": {"matchLabels": {"app": "b"}}}
    yield "mtls.mode", {"mtls": {"mode": "PERMISSIVE"}}, strict
    yield "selector.matchLabels.*", strict, {**strict, "selector": {"matchLabels": {"app": "other"}}}
    yield (
        "portLevelMtls.*.mode",
        {**strict, **mine},
        {**strict, **mine, "portLevelMtls": {"80": {"mode": "DISABLE"}}},
    )


KINDS = {
    "AuthorizationPolicy": (authorization_policy.parse, list(authorization_rows())),
    "RequestAuthentication": (request_authentication.parse, list(request_rows())),
    "PeerAuthentication": (peer_authentication.parse, list(peer_rows())),
}


def leaves(shape: Shape, path: str = "") -> Iterator[str]:
    """Paths of everything that holds a value; lists are passed through, any key is `*`."""
    children = {**shape.fields, **({"*": shape.values} if shape.values else {})}
    if shape.form is Form.TEXT_MAP:
        children = {"*": Shape(Form.TEXT)}
    if not children:
        yield path
    for name, child in children.items():
        yield from leaves(child, f"{path}.{name}" if path else name)


def document(kind: str, spec: Spec) -> Document:
    metadata = {"name": "p", "namespace": "shop"}
    return Document({"kind": kind, "metadata": metadata, "spec": copy.deepcopy(spec)})


def decided(kind: str, spec: Spec) -> list[object]:
    """Everything anybody can see of what an object decides."""
    found, problems = KINDS[kind][0](document(kind, spec))
    assert found is not None, problems
    program, mode, fetched = DecisionProgram(Protocol.HTTP, 80), MtlsMode.PERMISSIVE, ()
    match found:
        case authorization_policy.AuthorizationPolicy():
            program = lower(select([found], TARGET, MESH), MESH, port=80, protocol=Protocol.HTTP)
        case request_authentication.RequestAuthentication():
            rules_ = request_authentication.authentication([found], TARGET, MESH)
            program = lower([], MESH, port=80, protocol=Protocol.HTTP, authentication=rules_)
            fetched = tuple((r.key_source, r.timeout_seconds) for r in rules_.rules if r.key_source)
        case peer_authentication.PeerAuthentication():
            mode = peer_authentication.effective_mode([found], TARGET, 80, MESH, default=MtlsMode.PERMISSIVE)
        case _:
            raise AssertionError(found)
    seen: list[object] = [mode, fetched]
    for answers in ({}, {"guard": True, "two": True}):
        outside = Outside(NOW, authorizers=answers)
        for request in REQUESTS:
            after = authenticated(program, Facts(request, MESH), outside)
            forwarded = (after.request.headers, after.request.claims) if isinstance(after, Facts) else None
            seen += [
                evaluate(program, request, MESH, mode, outside),
                evaluate_dry_run(program, request, MESH, mode, outside),
                json.dumps(forwarded, default=dict, sort_keys=True),
            ]
    return seen


@pytest.mark.parametrize("kind", KINDS)
def test_no_field_is_without_a_row(kind: str) -> None:
    parse, rows = KINDS[kind]
    start: dict[str, Any] = {"kind": kind, "metadata": {"name": "x"}, "spec": {}}
    spec = shape_of(parse, start).fields["spec"]
    assert set(leaves(spec)) == {path for path, _, _ in rows}


ROWS = [(kind, *row) for kind, (_, rows) in KINDS.items() for row in rows]


@pytest.mark.parametrize(
    ("kind", "path", "without", "with_it"), ROWS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_every_field_decides_something(kind: str, path: str, without: Spec, with_it: Spec) -> None:
    assert decided(kind, without) != decided(kind, with_it), path


def test_the_dry_run_annotation_decides_something() -> None:
    plain = document("AuthorizationPolicy", {"action": "DENY", "rules": [{}]})
    tried = Document(
        {**plain.value, "metadata": {**plain.metadata, "annotations": {"istio.io/dry-run": "true"}}}
    )
    programs = [
        lower([policy], MESH, port=80, protocol=Protocol.HTTP)
        for one in (plain, tried)
        if (policy := authorization_policy.parse(one)[0])
    ]
    assert [evaluate(program, REQUESTS[0], MESH).allowed for program in programs] == [False, True]
    assert [evaluate_dry_run(program, REQUESTS[0], MESH).deny is None for program in programs] == [
        True,
        False,
    ]
