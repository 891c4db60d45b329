"""Checking the tokens of a request: which are there, whether each is good, what that changes for the rules after.

As Envoy's jwt_authn does it, in its order: shape, issuer, times, audiences, signature. A token is only ever
looked for where a rule looks. The clock comes in; without one no token is good.
Source: RFC 7519, RFC 7515; docs/reference/policy.md (RequestAuthentication); checked on a real Envoy 1.40.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import parse_qsl

import jwt
from jwt.exceptions import PyJWTError

from policies.authentication import Authentication, JwtRule, Location, Where
from policies.document import Json
from policies.request import Request
from policies.request_authentication import read_keys

CLOCK_SKEW_SECONDS: Final = 60
ALGORITHMS: Final = (
    "ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA",
    "HS256", "HS384", "HS512",
)  # fmt: skip
_TOKEN_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")

TOKEN_INVALID: Final = "token-invalid"  # noqa: S105 - what a decision says, not a secret
TOKEN_AUDIENCE: Final = "token-audience"  # noqa: S105
TOKEN_MISSING: Final = "token-missing"  # noqa: S105


class Fault(IntEnum):
    """Why a token is refused; a higher one says more."""

    UNKNOWN = 0  # no rule takes this issuer
    INVALID = 1
    AUDIENCE = 2


@dataclass(frozen=True, slots=True)
class Refusal:
    """`rule` is one of this module's constants; `status` 401, or 403 for an audience."""

    rule: str
    status: int


def authenticate(
    authentication: Authentication, request: Request, now: float | None, jwks: Mapping[str, str]
) -> Request | Refusal:
    """The request as the rules after see it, or why it ends here.

    `now`: Unix time; `jwks`: the keys that were fetched, by `JwtRule.key_source`.
    """
    if not authentication.rules:
        return request
    request = _without_claims(authentication, request)
    if _is_preflight(request):
        return request
    for rule in authentication.rules:
        refusal = _required(rule, request, now, jwks) if rule.required else None
        if refusal is not None:
            return refusal
    found: list[_Found] = []
    # the last location first, as Envoy does: so the first one has the last word
    for location, rules in reversed(authentication.by_location.items()):
        token = find(location, request)
        if token is None:
            continue
        verdicts = [verify(token, rule, now, jwks) for rule in rules]
        good = next((i for i, verdict in enumerate(verdicts) if not isinstance(verdict, Fault)), None)
        if good is None:
            return _refusal(max(verdict for verdict in verdicts if isinstance(verdict, Fault)))
        found.append(_Found(location, rules[good], token, cast("dict[str, Json]", verdicts[good])))
    return _after(request, found)


@dataclass(frozen=True, slots=True)
class _Found:
    """A good token."""

    location: Location
    rule: JwtRule
    token: str
    payload: dict[str, Json]


def _required(rule: JwtRule, request: Request, now: float | None, jwks: Mapping[str, str]) -> Refusal | None:
    """A token of this very rule must be there."""
    worst: Fault | None = None
    for location in rule.locations:
        token = find(location, request)
        verdict = None if token is None else verify(token, rule, now, jwks)
        if isinstance(verdict, dict):
            return None
        worst = verdict if worst is None else max(worst, verdict or Fault.UNKNOWN)
    return Refusal(TOKEN_MISSING, 401) if worst is None else _refusal(worst)


def _refusal(fault: Fault) -> Refusal:
    return Refusal(TOKEN_AUDIENCE, 403) if fault is Fault.AUDIENCE else Refusal(TOKEN_INVALID, 401)


def find(location: Location, request: Request) -> str | None:
    """The token at a place; None where there is none."""
    match location.where:
        case Where.HEADER:
            return _in_header(location, request.headers.get(location.name))
        case Where.PARAM:
            query = request.path.partition("#")[0].partition("?")[2]
            pairs = parse_qsl(query, keep_blank_values=True)
            return next((value for name, value in pairs if name == location.name), None)
        case Where.COOKIE:
            return cookies(request.headers.get("cookie", "")).get(location.name)


def cookies(header: str) -> dict[str, str]:
    """The first of each name wins."""
    found: dict[str, str] = {}
    for part in header.split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            found.setdefault(name, value.strip('"'))
    return found


def verify(token: str, rule: JwtRule, now: float | None, jwks: Mapping[str, str]) -> dict[str, Json] | Fault:
    """The payload of a good token."""
    header, payload = _read(token)
    if header is None or payload is None or header.get("alg") not in ALGORITHMS or now is None:
        return Fault.INVALID
    if rule.issuer and payload.get("iss") != rule.issuer:
        return Fault.UNKNOWN
    if not _is_timely(payload, now):
        return Fault.INVALID
    if rule.audiences and not _meets(rule.audiences, payload.get("aud")):
        return Fault.AUDIENCE
    keys = rule.jwks or jwks.get(rule.key_source, "")
    return payload if _is_signed(token, header, keys) else Fault.INVALID


def normalized(payload: Mapping[str, Json], space_delimited: Iterable[str]) -> dict[str, Json]:
    """The payload as rules see it: a claim of words between spaces is a list."""
    seen = dict(payload)
    for name in space_delimited:
        value = seen.get(name)
        if isinstance(value, str):
            seen[name] = [*filter(None, value.split(" "))]
    return seen


def _is_preflight(request: Request) -> bool:
    """A browser asks before it sends a token: Envoy lets that through."""
    headers = request.headers
    return (
        request.method == "OPTIONS"
        and bool(headers.get("origin"))
        and bool(headers.get("access-control-request-method"))
    )


def _in_header(location: Location, value: str | None) -> str | None:
    """What follows the prefix, from the first letter a token can have to the next blank."""
    if value is None or location.prefix not in value:
        return None
    if not location.prefix:
        return value
    rest = value.partition(location.prefix)[2]
    start = next((i for i, letter in enumerate(rest) if letter in _TOKEN_CHARACTERS), None)
    return value if start is None else rest[start:].partition(" ")[0]


def _read(token: str) -> tuple[dict[str, Json] | None, dict[str, Json] | None]:
    parts = token.split(".")
    if len(parts) != 3 or not set(token) <= _TOKEN_CHARACTERS:
        return None, None
    header, payload = _json(parts[0]), _json(parts[1])
    if payload is not None and not all(isinstance(payload.get(name, ""), str) for name in ("iss", "sub")):
        return header, None
    return header, payload


def _json(part: str) -> dict[str, Json] | None:
    try:
        value: Json = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _is_timely(payload: Mapping[str, Json], now: float) -> bool:
    expires, begins = payload.get("exp", 0), payload.get("nbf", 0)
    if not all(_is_number(value) for value in (expires, begins, payload.get("iat", 0))):
        return False
    late = bool(expires) and now > cast(float, expires) + CLOCK_SKEW_SECONDS
    return not late and now + CLOCK_SKEW_SECONDS >= cast(float, begins)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _meets(wanted: Sequence[str], audience: Json) -> bool:
    """Envoy compares audiences without http(s):// in front and without a slash behind."""
    given = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
    known = {_bare(text) for text in wanted}
    return any(isinstance(text, str) and _bare(text) in known for text in given)


def _bare(audience: str) -> str:
    for scheme in ("https://", "http://"):
        audience = audience.removeprefix(scheme)
    return audience.removesuffix("/")


def _is_signed(token: str, header: Mapping[str, Json], jwks: str) -> bool:
    algorithm, key_id = str(header["alg"]), header.get("kid")
    for known_id, key_algorithm, key in _keys(jwks):
        if (key_id and known_id and key_id != known_id) or (key_algorithm and key_algorithm != algorithm):
            continue
        if _fits(key, algorithm) and _holds(token, key, algorithm):
            return True
    return False


def _fits(key: jwt.PyJWK, algorithm: str) -> bool:
    """A key is only used for what its type is for, so that no public key serves as a secret."""
    family = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP", "HS": "oct"}[algorithm[:2]]
    return key.key_type == family


def _holds(token: str, key: jwt.PyJWK, algorithm: str) -> bool:
    off: dict[str, Any] = dict.fromkeys(
        ("verify_exp", "verify_nbf", "verify_iat", "verify_aud", "verify_iss", "verify_sub", "verify_jti"),
        False,
    )
    try:
        jwt.decode(token, key.key, algorithms=[algorithm], options=cast(Any, off))
    except (PyJWTError, ValueError, TypeError):
        return False
    return True


@lru_cache(maxsize=256)
def _keys(jwks: str) -> tuple[tuple[str, str, jwt.PyJWK], ...]:
    """Key id, algorithm and key of every usable entry."""
    found: list[tuple[str, str, jwt.PyJWK]] = []
    for entry in read_keys(jwks) or ():
        try:
            algorithm = entry.get("alg")
            key = jwt.PyJWK(cast(Any, entry), algorithm if isinstance(algorithm, str) else _default(entry))
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        found.append((str(entry.get("kid") or ""), str(algorithm or ""), key))
    return tuple(found)


def _default(entry: Mapping[str, Json]) -> str:
    """PyJWT wants an algorithm to read a key; which one does not matter for what it holds."""
    curves = {"P-384": "ES384", "P-521": "ES512"}
    kinds = {"RSA": "RS256", "EC": curves.get(str(entry.get("crv")), "ES256"), "OKP": "EdDSA", "oct": "HS256"}
    return kinds[str(entry.get("kty"))]


def _without_claims(authentication: Authentication, request: Request) -> Request:
    """Nobody but a verified token writes the headers that claims go to."""
    written = {name for rule in authentication.rules for name in _headers_of(rule)}
    if not written & request.headers.keys():
        return request
    return replace(request, headers={n: v for n, v in request.headers.items() if n not in written})


def _headers_of(rule: JwtRule) -> list[str]:
    return [*filter(None, (rule.payload_header, *(header for header, _ in rule.claim_headers)))]


def _after(request: Request, found: Sequence[_Found]) -> Request:
    """Tokens that are not forwarded are gone, claims stand in their headers; the first location has the last word."""
    if not found:
        return request
    headers = dict(request.headers)
    for one in found:
        if not one.rule.forward and one.location.where is Where.HEADER:
            headers.pop(one.location.name, None)
        if one.rule.payload_header:
            headers[one.rule.payload_header] = one.token.split(".")[1]
        for header, claim in one.rule.claim_headers:
            text = _claim_text(one.payload, claim)
            if text:
                headers[header] = text
    last = found[-1]
    return replace(request, headers=headers, claims=normalized(last.payload, last.rule.space_delimited))


def _claim_text(payload: Mapping[str, Json], path: str) -> str:
    value: Json = dict(payload)
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case int() | float():
            return str(int(value)) if value == int(value) else str(value)
        case list() | dict():
            return base64.b64encode(json.dumps(value, separators=(",", ":")).encode()).decode()
        case None:
            return ""
