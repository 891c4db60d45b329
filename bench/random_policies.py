"""Random policies of every construct, and random requests that come near them. All from one seed.

Values are few and alike, so that prefixes, suffixes and exact values overlap; names, addresses and paths are such
that a loopback connection can carry them.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from policies import authorization_policy, request_authentication
from policies.authentication import Authentication
from policies.authorization_policy import AuthorizationPolicy
from policies.document import Document
from policies.lower import lower
from policies.program import DecisionProgram, Protocol
from policies.request import Request
from policies.select import select
from policies.workload import MeshSettings, PathNormalization, Workload

Spec = dict[str, Any]

WORKLOAD = Workload("shop", "b", "b", {"app": "b"})
PORT = 8080
TRUST_DOMAINS = ("td", "old")
IDENTITIES = (
    None, "td/ns/a/sa/x", "td/ns/a/sa/y", "old/ns/a/sa/x", "td/ns/ab/sa/x", "td/ns/b/sa/y", "td/ns/shop/sa/x",
    "old/ns/bc/sa/y", "td/other",
)  # fmt: skip

PRINCIPALS = (
    "td/ns/a/sa/x", "old/ns/a/sa/x", "cluster.local/ns/b/sa/y", "*", "td/*", "*/sa/y", "*/ns/a/sa/x", "td/ns/a*",
    "other", "td/ns/*/sa/x", "*d/ns/a/sa/x",
)  # fmt: skip
NAMESPACES = ("a", "b", "a*", "*b", "*", "*b*", "a*c", "shop")
ACCOUNTS = ("x", "a/x", "shop/x", "b/y")
DOMAINS = ("td", "old", "t*", "*d", "*", "other")
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.1.0.1")
NETWORKS = ("127.0.0.1", "127.0.0.0/24", "127.1.0.0/16", "10.0.0.0/8", "::1", "2001:db8::/32", "0.0.0.0/0")
REMOTE = (None, "10.0.0.1", "10.200.0.1", "127.0.0.2", "2001:db8::5", "192.0.2.9")
NAMES = ("", "a.shop", "b.a.shop", "shop", "a.shop.x", "outbound_.80_._.a.shop")
NAME_VALUES = ("a.shop", "*.shop", "a.*", "*", "shop", "*.x", "outbound_.80*")
HOSTS = ("a.shop", "A.Shop", "a.shop:8080", "b.shop", "a.x", "x.a.shop")
HOST_VALUES = ("a.shop", "A.SHOP", "*.shop", "a.*", "*", "a.shop:*", "*:8080")
METHODS = ("GET", "POST", "PUT", "FOO")
METHOD_VALUES = ("GET", "P*", "*T", "*", "POST")
PATHS = (
    "/", "/a", "/a/b", "/ab", "/a/", "//a", "/a//b", "/x/../a", "/a?b=/b", "/a%2fb", "/%61/b", "/a/b/c", "/c/b?x",
    "/a;x/b", "/a/./b", "/A",
)  # fmt: skip
PATH_VALUES = (
    "/a", "/a*", "*/b", "*", "/a/b", "/a/{*}", "/{**}/b", "/a/{**}", "/{*}", "/a/{*}/{**}", "/*", "/a/",
)  # fmt: skip
TEAMS = (None, "", "red", "rod", "blue", "a,b")
TEAM_VALUES = ("red", "r*", "*d", "*", "blue", "a,b")
CLAIMS: tuple[dict[str, Any] | None, ...] = (
    None,
    {"iss": "me", "sub": "s"},
    {"iss": "me", "sub": ""},
    {"iss": "https://idp/x", "sub": "s/t", "aud": "red", "azp": "blue"},
    {"iss": "https://idp", "sub": "x/s", "aud": ["red", "blue"], "realm": {"roles": ["red", "rod"]}},
    {"iss": "me", "aud": ["rod"], "realm": {"roles": "red"}, "scope": "red blue"},
    {"iss": "you", "sub": "st", "azp": 5, "realm": {"roles": {"red": True}}, "scope": ["rod", 1]},
)
REQUEST_PRINCIPALS = (
    "me/s", "*", "me/*", "*/s", "https://idp*", "*s", "me", "https://idp/x/s/*", "*dp/x/s", "*/*", "https://idp/x/s",
    "me/s*",
)  # fmt: skip
METADATA_VALUES = ("x", "*", "[x]")

SOURCE_FIELDS: dict[str, Sequence[str]] = {
    "principals": PRINCIPALS, "namespaces": NAMESPACES, "trustDomains": DOMAINS, "ipBlocks": NETWORKS,
    "remoteIpBlocks": NETWORKS, "requestPrincipals": REQUEST_PRINCIPALS,
}  # fmt: skip
OPERATION_FIELDS: dict[str, Sequence[str]] = {
    "hosts": HOST_VALUES, "methods": METHOD_VALUES, "paths": PATH_VALUES, "ports": ("8080", "80"),
}  # fmt: skip
CONDITIONS: dict[str, Sequence[str]] = {
    "source.principal": PRINCIPALS, "source.namespace": NAMESPACES, "source.serviceAccount": ACCOUNTS,
    "source.trustDomain": DOMAINS, "source.ip": NETWORKS, "remote.ip": NETWORKS, "destination.ip": NETWORKS,
    "destination.port": ("8080", "80"), "connection.sni": NAME_VALUES, "request.headers[X-Team]": TEAM_VALUES,
    "request.headers[:method]": METHOD_VALUES, "request.headers[:authority]": HOST_VALUES,
    "request.headers[:path]": PATH_VALUES[:5], "request.auth.principal": REQUEST_PRINCIPALS,
    "request.auth.audiences": TEAM_VALUES, "request.auth.presenter": TEAM_VALUES,
    "request.auth.claims[realm][roles]": TEAM_VALUES, "request.auth.claims[scope]": TEAM_VALUES,
    "request.auth.claims[iss]": ("me", "https://*", "*p", "*"),
    "experimental.envoy.filters.a.b[c]": METADATA_VALUES,
}  # fmt: skip
IDENTITY_KEYS = ("source.principal", "source.namespace", "source.serviceAccount", "source.trustDomain")


def settings_of(chance: random.Random) -> MeshSettings:
    return MeshSettings(
        TRUST_DOMAINS[0], TRUST_DOMAINS[1:], "root", chance.choice(list(PathNormalization)), trusted_proxies=1
    )


def policies(chance: random.Random, settings: MeshSettings) -> tuple[AuthorizationPolicy, ...]:
    found: list[AuthorizationPolicy] = []
    for number in range(chance.randint(1, 4)):
        policy = None
        while policy is None:
            policy, _ = authorization_policy.parse(_document(chance, number))
        found.append(policy)
    return select(found, WORKLOAD, settings)


def program_of(
    selected: Sequence[AuthorizationPolicy],
    settings: MeshSettings,
    protocol: Protocol,
    authentication: Authentication | None = None,
) -> DecisionProgram:
    rules = authentication or Authentication()
    return lower(selected, settings, port=PORT, protocol=protocol, authentication=rules)


@dataclass(frozen=True)
class Caller:
    """What a connection has: several requests come on it."""

    principal: str | None
    source: str
    destination: str
    sni: str


def caller(chance: random.Random) -> Caller:
    principal = chance.choice(IDENTITIES)
    sni = chance.choice(NAMES) if principal else ""
    return Caller(principal, chance.choice(ADDRESSES), chance.choice(ADDRESSES), sni)


def request(chance: random.Random, who: Caller, protocol: Protocol) -> Request:
    connection = Request(
        principal=who.principal,
        source_ip=ip_address(who.source),
        destination_ip=ip_address(who.destination),
        sni=who.sni,
    )
    if protocol is Protocol.TCP:
        return connection
    team, remote = chance.choice(TEAMS), chance.choice(REMOTE)
    return replace(
        connection,
        method=chance.choice(METHODS),
        path=chance.choice(PATHS),
        host=chance.choice(HOSTS),
        headers={} if team is None else {"x-team": team},
        remote_ip=ip_address(remote) if remote else None,
        claims=chance.choice(CLAIMS),
    )


def _document(chance: random.Random, number: int) -> Document:
    action = chance.choice(("ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT", "CUSTOM"))
    rules = [_rule(chance, custom=action == "CUSTOM") for _ in range(chance.choice((0, 1, 1, 2, 3)))]
    spec: Spec = {"action": action, "rules": rules}
    metadata: Spec = {"name": f"p{number}", "namespace": chance.choice(("shop", "root"))}
    if action == "CUSTOM":
        spec["provider"] = {"name": chance.choice(("nobody", "no-one"))}
    elif action != "AUDIT" and chance.random() < 0.15:
        metadata["annotations"] = {"istio.io/dry-run": "true"}
    return Document({"metadata": metadata, "spec": spec})


def _rule(chance: random.Random, *, custom: bool) -> Spec:
    rule: Spec = {}
    if chance.random() < 0.6:
        rule["from"] = [{"source": _source(chance, custom=custom)} for _ in range(chance.randint(1, 2))]
    if chance.random() < 0.6:
        rule["to"] = [{"operation": _object(chance, OPERATION_FIELDS)} for _ in range(chance.randint(1, 2))]
    if chance.random() < 0.5:
        rule["when"] = [_condition(chance, custom=custom) for _ in range(chance.randint(1, 2))]
    return rule


def _source(chance: random.Random, *, custom: bool) -> Spec:
    if custom:
        return _object(chance, {name: SOURCE_FIELDS[name] for name in ("ipBlocks", "remoteIpBlocks")})
    if chance.random() < 0.2:
        return {chance.choice(("serviceAccounts", "notServiceAccounts")): _some(chance, ACCOUNTS)}
    return _object(chance, SOURCE_FIELDS)


def _object(chance: random.Random, fields: dict[str, Sequence[str]]) -> Spec:
    names = chance.sample(sorted(fields), min(len(fields), chance.choice((1, 1, 2))))
    found: Spec = {}
    for name in names:
        if chance.random() < 0.75:
            found[name] = _some(chance, fields[name])
        if name not in found or chance.random() < 0.2:
            found[f"not{name[0].upper()}{name[1:]}"] = _some(chance, fields[name])
    return found


def _condition(chance: random.Random, *, custom: bool) -> Spec:
    keys = [k for k in CONDITIONS if not custom or (k not in IDENTITY_KEYS and ".auth." not in k)]
    key = chance.choice(keys)
    found: Spec = {"key": key}
    if chance.random() < 0.7:
        found["values"] = _some(chance, CONDITIONS[key])
    if "values" not in found or chance.random() < 0.3:
        found["notValues"] = _some(chance, CONDITIONS[key])
    return found


def _some(chance: random.Random, values: Sequence[str]) -> list[str]:
    return chance.sample(list(values), chance.choice((1, 1, 2, 3)) if len(values) > 2 else 1)


# --- tokens ---

TOKEN_PLACES = (
    {}, {"fromHeaders": [{"name": "x-one", "prefix": "T "}]}, {"fromHeaders": [{"name": "X-Two"}]},
    {"fromParams": ["tok"]}, {"fromCookies": ["jar"]}, {"fromHeaders": [{"name": "x-two"}], "fromParams": ["tok"]},
)  # fmt: skip


def token_rules(chance: random.Random, jwks: str) -> Authentication:
    """Up to three rules; some want audiences, some a token."""
    rules: list[Spec] = []
    for issuer in chance.choices(("https://idp", "me", "you", ""), (3, 3, 3, 2), k=chance.randint(1, 3)):
        rule: Spec = {"issuer": issuer or "https://idp", "jwks": jwks, **chance.choice(TOKEN_PLACES)}
        if chance.random() < 0.4:
            rule["audiences"] = chance.choice((["red"], ["https://red/", "rod"]))
        if chance.random() < 0.3:
            rule["forwardOriginalToken"] = True
        if chance.random() < 0.2:
            rule["presence"] = "REQUIRED"
        if chance.random() < 0.3:
            rule["outputClaimToHeaders"] = [
                {"header": "x-team", "claim": chance.choice(("team", "deep.team"))}
            ]
        rules.append(rule)
    document = Document({"metadata": {"name": "t", "namespace": "shop"}, "spec": {"jwtRules": rules}})
    found, problems = request_authentication.parse(document)
    if found is None:
        raise ValueError(problems)
    return request_authentication.authentication([found], WORKLOAD, MeshSettings("td"))


def tokens(chance: random.Random, sign: Any, now: float) -> Request:
    """A request with tokens, good and bad, here and there. `sign`: claims → token."""
    made = Request(method=chance.choice(METHODS), path=chance.choice(PATHS[:5]), host="a.shop")
    headers: dict[str, str] = {}
    for _ in range(chance.choice((0, 1, 1, 1, 2))):
        text = _token(chance, sign, now)
        match chance.randrange(6):
            case 0:
                headers["authorization"] = (
                    f"{chance.choice(('Bearer ', 'Bearer ', 'Basic ', 'bearer '))}{text}"
                )
            case 1:
                headers["x-one"] = f"T {text}"
            case 2:
                headers["x-two"] = text
            case 3:
                name = chance.choice(("tok", "access_token"))
                made = replace(made, path=f"{made.path.partition('?')[0]}?q=1&{name}={text}")
            case 4:
                headers["cookie"] = f"a=b; jar={text}"
            case _:
                pass
    if chance.random() < 0.1:
        made = replace(made, method="OPTIONS")
        headers |= {"origin": "https://x", "access-control-request-method": "GET"}
    return replace(made, headers=headers)


def _token(chance: random.Random, sign: Any, now: float) -> str:
    claims: Spec = {
        "iss": chance.choice(("https://idp", "me", "you", "stranger")),
        "sub": chance.choice(("s", "t")),
    }
    if chance.random() < 0.6:
        claims["aud"] = chance.choice(("red", "https://red", ["rod", "x"], "blue", ["red/"]))
    if chance.random() < 0.3:
        claims["exp"] = int(now) + chance.choice((-3600, -20, 3600))
    if chance.random() < 0.2:
        claims["nbf"] = int(now) + chance.choice((-3600, 20, 3600))
    if chance.random() < 0.5:
        claims |= chance.choice(({"team": "red"}, {"team": 5}, {"team": True}, {"deep": {"team": "rod"}}))
    text = str(sign(claims))
    match chance.randrange(12):
        case 0:
            return "garbage"
        case 1:
            head, payload, _ = text.split(".")
            return f"{head}.{payload}.{base64.urlsafe_b64encode(b'no' * 32).decode().rstrip('=')}"
        case 2:
            head, _, signature = text.split(".")
            forged = (
                base64.urlsafe_b64encode(json.dumps({**claims, "sub": "root"}).encode()).decode().rstrip("=")
            )
            return f"{head}.{forged}.{signature}"
        case _:
            return text
