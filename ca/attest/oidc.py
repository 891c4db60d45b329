"""A machine that holds an ID token of a provider the operator trusts: a CI runner, a cloud, Kubernetes.

The provider's keys are an argument: fetching them belongs to an edge. Of a token only what was verified is
read. It must be for Pylis (audience), of this issuer, young and unexpired, and carry the claims the operator
requires; the claims he names become selectors.
Source: OpenID Connect Core §2, §3.1.3.7; RFC 7517; RFC 7519
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Final, cast

import jwt

from ca.csr import PublicKey
from ca.errors import AttestationError, JwkError, JwtError
from ca.jwk import from_jwk
from ca.jwt_svid import ALGORITHMS, Unverified, algorithm_of, read

METHOD: Final = "oidc"
LEEWAY: Final = timedelta(seconds=60)
MAX_AGE: Final = timedelta(hours=24)
MAX_VALUES: Final = 64  # selectors of one claim that is a list
MAX_KEYS: Final = 64
_JWS: Final = jwt.PyJWS(algorithms=list(ALGORITHMS))
_PATH: Final = "/"  # between the names of nested claims: kubernetes.io/namespace


@dataclass(frozen=True, slots=True)
class Provider:
    """One issuer that may vouch for agents.

    `claims` become selectors; `require`: claim → patterns (`*` as in file names), one of which must fit;
    `name_claims` tell agents apart: two tokens with the same values are the same agent.
    """

    issuer: str
    audience: str
    claims: tuple[str, ...] = ()
    require: tuple[tuple[str, tuple[str, ...]], ...] = ()
    name_claims: tuple[str, ...] = ("sub",)


@dataclass(frozen=True, slots=True)
class ProviderKey:
    kid: str
    key: PublicKey


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a verified token says of an agent. `expires` bounds how long it has to be remembered as used."""

    agent: str
    selectors: frozenset[str]
    expires: datetime


def read_keys(document: Any) -> tuple[ProviderKey, ...]:
    """The signing keys of a provider's JWK set; others are passed over. Raises: AttestationError."""
    keys = cast("dict[str, Any]", document).get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list):
        raise AttestationError('the provider\'s key set has no "keys"')
    found: list[ProviderKey] = []
    for item in cast("list[Any]", keys)[:MAX_KEYS]:
        entry = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
        kid = entry.get("kid", "")
        if entry.get("use", "sig") != "sig" or not isinstance(kid, str):
            continue
        try:
            key = from_jwk(entry)
        except JwkError:
            continue
        if key is not None:
            found.append(ProviderKey(kid, key))
    return tuple(found)


def issuer_of(token: str) -> str:
    """Believed by nobody yet: it says whose keys to ask. Raises: AttestationError."""
    issuer = _read(token).claims.get("iss")
    if not isinstance(issuer, str):
        raise AttestationError("the token names no issuer")
    return issuer


def key_id(token: str) -> str:
    """Raises: AttestationError."""
    kid = _read(token).header.get("kid", "")
    return kid if isinstance(kid, str) else ""


def verify(token: str, provider: Provider, keys: Sequence[ProviderKey], now: datetime) -> Vouched:
    """Raises: AttestationError, which never repeats the token."""
    claims, expires = verified(token, provider.issuer, provider.audience, keys, now)
    required(claims, provider.require)
    return Vouched(_name(provider, claims), _selectors(provider, claims), expires)


def verified(
    token: str, issuer: str, audience: str, keys: Sequence[ProviderKey], now: datetime
) -> tuple[Mapping[str, Any], datetime]:
    """The claims of an ID token that this issuer signed for `audience`, and when it expires. Raises: AttestationError."""
    claims = _verified(token, keys)
    if claims.get("iss") != issuer:
        raise AttestationError("the token is of another issuer")
    given = claims.get("aud")
    audiences = cast("list[Any]", given) if isinstance(given, list) else [given]
    if audience not in audiences:
        raise AttestationError(f"the token is not for {audience!r}")
    return claims, _times(claims, now)


def required(claims: Mapping[str, Any], wanted: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    """One of the patterns of each claim has to fit. Raises: AttestationError."""
    for name, patterns in wanted:
        values = texts(claims, name)
        if not any(fnmatchcase(value, pattern) for value in values for pattern in patterns):
            raise AttestationError(f"claim {name!r} is not as required")


def texts(claims: Mapping[str, Any], name: str, most: int = MAX_VALUES) -> list[str]:
    """A claim's first values as text, by its whole name or the names on the way to it (`realm_access/roles`)."""
    return _texts(_find(claims, name), most)


def _read(token: str) -> Unverified:
    try:
        return read(token)
    except JwtError as error:
        raise AttestationError(f"the token cannot be read: {error}") from error


def _verified(token: str, keys: Sequence[ProviderKey]) -> dict[str, Any]:
    """The claims, out of the very bytes whose signature holds."""
    header = _read(token).header
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise AttestationError("the token is not signed with RS, PS or ES")
    if "crit" in header:
        raise AttestationError("the token has critical header parameters, which are not read")
    for one in keys:
        if kid is not None and one.kid and one.kid != kid:
            continue
        if not _fits(one.key, str(algorithm)):
            continue
        try:
            payload = _JWS.decode_complete(token, one.key, algorithms=[str(algorithm)])["payload"]
        except jwt.PyJWTError:
            continue
        return cast("dict[str, Any]", json.loads(payload))  # `read` has found it to be an object
    raise AttestationError("no key of its issuer signed the token")


def _fits(key: PublicKey, algorithm: str) -> bool:
    own = algorithm_of(key)
    return algorithm == own if own.startswith("ES") else algorithm[:2] in ("RS", "PS")


def _times(claims: Mapping[str, Any], now: datetime) -> datetime:
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    if expires is None:
        raise AttestationError("the token has no expiry")
    if now >= expires + LEEWAY:
        raise AttestationError("the token has expired")
    if issued is not None and issued > now + LEEWAY:
        raise AttestationError("the token was issued in the future: is a clock wrong?")
    if issued is not None and now - issued > MAX_AGE:
        raise AttestationError(f"the token is older than {MAX_AGE}")
    start = _moment(claims, "nbf")
    if start is not None and start > now + LEEWAY:
        raise AttestationError("the token is not valid yet")
    return expires


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    value = claims.get(name)
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(None if isinstance(value, bool) else value, UTC)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise AttestationError(f"{name} is no number of seconds") from error


def _name(provider: Provider, claims: Mapping[str, Any]) -> str:
    values = [provider.issuer]
    for name in provider.name_claims:
        found = _texts(_find(claims, name))
        if not found:
            raise AttestationError(f"the token lacks claim {name!r}, which names the agent")
        values.append(json.dumps(found))
    return f"{METHOD}.{hashlib.sha256(json.dumps(values).encode()).hexdigest()[:40]}"


def _selectors(provider: Provider, claims: Mapping[str, Any]) -> frozenset[str]:
    found = {f"{METHOD}:iss:{provider.issuer}"}
    found |= {f"{METHOD}:sub:{value}" for value in _texts(claims.get("sub"))}
    for name in provider.claims:
        found |= {f"{METHOD}:claim:{name}:{value}" for value in _texts(_find(claims, name))}
    return frozenset(found)


def _find(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its whole name, or by the names on the way to it."""
    if path in claims:
        return claims[path]
    head, slash, rest = path.partition(_PATH)
    inner = claims.get(head)
    return _find(cast("dict[str, Any]", inner), rest) if slash and isinstance(inner, dict) else None


def _texts(value: Any, most: int = MAX_VALUES) -> list[str]:
    """A claim's values as text; objects and nothing have none."""
    items = cast("list[Any]", value)[:most] if isinstance(value, list) else [value]
    return [_text(item) for item in items if isinstance(item, str | int | float)]


def _text(item: str | float) -> str:
    return str(item).lower() if isinstance(item, bool) else str(item)
