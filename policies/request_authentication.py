"""RequestAuthentication (security.istio.io/v1): the kind as users write it, checked; and which apply to a workload.

What its rules mean is in `authentication`, how a token is checked in `token`. An inline JWKS must parse here, so
that it cannot fail in Envoy. Source: docs/reference/policy.md (Istio's RequestAuthentication and its validation).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from policies import codes
from policies.authentication import (
    ALWAYS_SPACE_DELIMITED,
    DEFAULT_LOCATIONS,
    Authentication,
    JwtRule,
    Location,
    Where,
)
from policies.authorization_policy import read_dry_run
from policies.authorizer import read_duration
from policies.document import Document, Json
from policies.fields import TOP_LEVEL, Fields, read_metadata
from policies.problem import Origin, Problem
from policies.selector import read_selector, selects
from policies.target_ref import TargetRef, read_target_refs
from policies.workload import MeshSettings, Workload

MAX_SPACE_DELIMITED = 64
_HEADER = re.compile(r"[-_A-Za-z0-9]+")
_RULE_FIELDS = (
    "issuer", "audiences", "jwksUri", "jwks", "fromHeaders", "fromParams", "fromCookies",
    "outputPayloadToHeader", "forwardOriginalToken", "outputClaimToHeaders", "timeout",
    "spaceDelimitedClaims", "presence",
)  # fmt: skip


class Presence(StrEnum):
    """OPTIONAL: a request without a token passes. REQUIRED: it is answered 401."""

    OPTIONAL = "OPTIONAL"
    REQUIRED = "REQUIRED"


@dataclass(frozen=True, slots=True)
class RequestAuthentication:
    namespace: str
    name: str
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    rules: tuple[JwtRule, ...] = ()
    origin: Origin = Origin()
    targets: tuple[TargetRef, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse(document: Document) -> tuple[RequestAuthentication | None, list[Problem]]:
    """The object and its warnings, or None and every problem."""
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    read_dry_run(root, metadata.annotations, allowed=False)
    spec = root.child("spec")
    spec.only("selector", "targetRef", "targetRefs", "jwtRules")
    selector = read_selector(spec)
    targets = read_target_refs(spec, selector)
    full_name = f"{metadata.namespace}/{metadata.name}"
    rules = tuple(
        _read_rule(entry, f"{full_name} jwtRules[{index}]")
        for index, entry in enumerate(spec.children("jwtRules"))
    )
    found = RequestAuthentication(
        metadata.namespace, metadata.name, selector, rules, document.origin(), targets
    )
    return (None if root.failed else found), root.problems


def authentication(
    objects: Iterable[RequestAuthentication], workload: Workload, settings: MeshSettings
) -> Authentication:
    """All that apply, pooled: of the workload's namespace and of the root namespace, whose labels fit.

    Sorted: the same objects in any order give the same answer.
    """
    spaces = (workload.namespace, settings.root_namespace)
    applying = [
        one
        for one in objects
        if one.namespace in spaces and not one.targets and selects(one.selector, workload.labels)
    ]
    pooled = (rule for one in sorted(applying, key=lambda o: (o.namespace, o.name)) for rule in one.rules)
    return Authentication(tuple(sorted(pooled, key=lambda rule: (rule.issuer, rule.source))))


def _read_rule(entry: Fields, source: str) -> JwtRule:
    entry.only(*_RULE_FIELDS)
    issuer, jwks_uri = entry.text("issuer"), entry.text("jwksUri")
    if not issuer and not jwks_uri:
        entry.add(codes.MISSING, "issuer", "issuer or jwksUri must be set")
    jwks = _read_jwks(entry)
    if jwks_uri and "jwks" in entry:
        entry.add(codes.EXCLUDE_EACH_OTHER, "jwks", "cannot stand with jwksUri", "keep one of them")
    if jwks_uri and not is_web_address(jwks_uri):
        entry.add(codes.BAD_FORMAT, "jwksUri", f'"{jwks_uri}" is no http or https address')
    return JwtRule(
        source,
        issuer,
        entry.texts("audiences"),
        jwks,
        jwks_uri,
        tuple(dict.fromkeys(_read_locations(entry))) or DEFAULT_LOCATIONS,
        entry.boolean("forwardOriginalToken"),
        entry.text("outputPayloadToHeader").lower(),
        tuple(_read_claim_headers(entry)),
        _read_space_delimited(entry),
        read_duration(entry, "timeout", 5.0),
        entry.choice("presence", Presence.OPTIONAL) is Presence.REQUIRED,
    )


def _read_locations(entry: Fields) -> Iterable[Location]:
    for header in entry.children("fromHeaders"):
        header.only("name", "prefix")
        yield Location(Where.HEADER, header.text("name", required=True).lower(), header.text("prefix"))
    for name in entry.texts("fromParams"):
        yield Location(Where.PARAM, name)
    for name in entry.texts("fromCookies"):
        yield Location(Where.COOKIE, name)


def _read_claim_headers(entry: Fields) -> Iterable[tuple[str, str]]:
    for one in entry.children("outputClaimToHeaders"):
        one.only("header", "claim")
        header, claim = one.text("header", required=True), one.text("claim", required=True)
        if header and not _HEADER.fullmatch(header):
            one.add(codes.BAD_FORMAT, "header", f'"{header}" is no header name', "letters, digits, - and _")
        yield header.lower(), claim


def _read_space_delimited(entry: Fields) -> tuple[str, ...]:
    claims = entry.texts("spaceDelimitedClaims")
    if len(claims) > MAX_SPACE_DELIMITED:
        entry.add(
            codes.TOO_MANY, "spaceDelimitedClaims", f"{len(claims)} claims, at most {MAX_SPACE_DELIMITED}"
        )
    return tuple(dict.fromkeys((*ALWAYS_SPACE_DELIMITED, *claims)))


def _read_jwks(entry: Fields) -> str:
    text = entry.text("jwks")
    if "jwks" not in entry:
        return ""
    keys = read_keys(text)
    if keys is None:
        entry.add(codes.BAD_JWKS, "jwks", "is no JSON Web Key Set", 'write {"keys": [...]} as JSON')
        return ""
    for index, key in enumerate(keys):
        if key.get("kty") in ("RSA", "EC", "OKP") and "d" in key:
            entry.warn(
                codes.PRIVATE_KEY,
                "jwks",
                f"keys[{index}] is a private key",
                "publish only the public part, and replace the key",
            )
    return text


def read_keys(text: str) -> list[dict[str, Json]] | None:
    """The keys of a JWKS, or of a single key as Envoy takes it too; None when it is neither."""
    try:
        value: Json = json.loads(text)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    keys = value.get("keys", [value] if "kty" in value else None)
    if not isinstance(keys, list) or not keys:
        return None
    found = [key for key in keys if isinstance(key, dict) and isinstance(key.get("kty"), str)]
    return found if len(found) == len(keys) else None


def is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False
