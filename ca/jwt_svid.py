"""JWT-SVIDs: minted, read, validated. Pure: the clock and the token's id are arguments.

What is not allowed is refused before anything is verified: the header's parameters and algorithm first, then
the claims, then the signature, by a `jwt-svid` key of the subject's own trust domain.
Source: JWT-SVID §2 to §6; RFC 7515; RFC 7519 §4.1
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ca.bundle import JwtKey, TrustBundle
from ca.csr import PublicKey
from ca.errors import AuthorityError, JwtError, SpiffeIdError
from ca.jwk import unpadded
from ca.keys import PrivateKey, sign
from ca.spiffe_id import SpiffeId, TrustDomain

if TYPE_CHECKING:
    from jwt import PyJWS

JWT_TTL: Final = timedelta(minutes=5)
MAX_JWT_TTL: Final = timedelta(hours=24)
MAX_BYTES: Final = 16 * 1024
MAX_AUDIENCES: Final = 32
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_HEADER: Final = frozenset({"alg", "kid", "typ"})
_TYPES: Final = ("JWT", "JOSE")
_OF_CURVE: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_OF_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
ALGORITHMS: Final = (*_OF_CURVE.values(), *_OF_RSA)


@dataclass(frozen=True, slots=True)
class JwtSigner:
    """A JWT authority: its key signs between `not_before` and `not_after`."""

    kid: str
    key: PrivateKey = field(repr=False)
    algorithm: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class JwtSvid:
    """A minted token; `token` is a credential and never logged."""

    spiffe_id: SpiffeId
    token: str = field(repr=False)
    audience: tuple[str, ...]
    issued_at: datetime
    expires: datetime
    kid: str


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says, believed by nobody yet; `spiffe_id` None when the subject is no SPIFFE ID."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    spiffe_id: SpiffeId | None

    @property
    def audience(self) -> tuple[str, ...]:
        value = self.claims.get("aud")
        if isinstance(value, str):
            return (value,)
        values = cast("list[Any]", value) if isinstance(value, list) else []
        return tuple(values) if all(isinstance(one, str) for one in values) else ()


def algorithm_of(key: PublicKey) -> str:
    """What an authority with this key signs with."""
    match key:
        case ec.EllipticCurvePublicKey():
            return _OF_CURVE[key.curve.name]
        case rsa.RSAPublicKey():
            return "RS256"


def mint(
    spiffe_id: SpiffeId,
    audience: Sequence[str],
    *,
    signer: JwtSigner,
    now: datetime,
    ttl: timedelta,
    token_id: str,
    issuer: str = "",
) -> JwtSvid:
    """It ends with its authority at the latest. Raises: JwtError for an audience nobody could be.

    Raises: AuthorityError outside the authority's time.
    """
    if problems := audience_problems(audience):
        raise JwtError(problems)
    if not signer.not_before <= now < signer.not_after:
        raise AuthorityError(f"the JWT authority is not valid at {now.isoformat()}: is the clock right?")
    issued, expires = int(now.timestamp()), int(min(now + ttl, signer.not_after).timestamp())
    audiences = tuple(dict.fromkeys(audience))
    claims: dict[str, Any] = {"aud": list(audiences), "exp": expires, "iat": issued}
    if issuer:
        claims["iss"] = issuer
    claims |= {"jti": token_id, "sub": str(spiffe_id)}
    token = f"{_head(signer.algorithm, signer.kid)}.{_base64url(_ENCODER.encode(claims).encode())}"
    token = f"{token}.{_base64url(_signature(signer.key, token.encode()))}"
    moments = datetime.fromtimestamp(issued, UTC), datetime.fromtimestamp(expires, UTC)
    return JwtSvid(spiffe_id, token, audiences, *moments, signer.kid)


@lru_cache(maxsize=64)
def _head(algorithm: str, kid: str) -> str:
    """The same in every token of an authority."""
    return _base64url(_ENCODER.encode({"alg": algorithm, "kid": kid, "typ": "JWT"}).encode())


def _signature(key: PrivateKey, data: bytes) -> bytes:
    """As a JWS has it. Source: RFC 7518 §3.3, §3.4 (R and S, each as long as the curve's order)"""
    signature = sign(key, data)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return signature
    size = (key.key_size + 7) // 8
    return b"".join(part.to_bytes(size, "big") for part in decode_dss_signature(signature))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def audience_problems(audience: Sequence[str]) -> list[str]:
    if not audience:
        return ["an audience is required: who is the token for?"]
    if len(audience) > MAX_AUDIENCES:
        return [f"{len(audience)} audiences, at most {MAX_AUDIENCES} are put into a token"]
    if any(not one or len(one) > 1024 or not one.isprintable() for one in audience):
        return ["an audience is empty, longer than 1024 characters or not printable"]
    return []


def read(token: str) -> Unverified:
    """Raises: JwtError when it is no JWS in compact form with a JSON object as header and as claims."""
    if len(token) > MAX_BYTES:
        raise JwtError([f"larger than {MAX_BYTES} bytes"])
    parts = token.split(".")
    if len(parts) != 3:
        raise JwtError(["is not a JWS in compact form: three parts with dots between"])
    header, claims = _json(parts[0], "header"), _json(parts[1], "payload")
    try:
        unpadded(parts[2])
    except ValueError as error:
        raise JwtError(["its signature is not base64url"]) from error
    subject = claims.get("sub")
    try:
        identity = SpiffeId.parse(subject) if isinstance(subject, str) else None
    except SpiffeIdError:
        identity = None
    return Unverified(header, claims, identity)


def svid_problems(
    token: str, bundle: TrustBundle, audience: Iterable[str], now: datetime, leeway: timedelta = timedelta(0)
) -> list[str]:
    """Every reason why this is no valid JWT-SVID for one of `audience` under `bundle` at `now`."""
    try:
        found = read(token)
    except JwtError as error:
        return list(error.reasons)
    problems = _header_problems(found.header) + _claim_problems(found, tuple(audience), now, leeway)
    if found.spiffe_id is None:
        return problems
    if found.spiffe_id.trust_domain != bundle.trust_domain:
        text = f"its trust domain is {found.spiffe_id.trust_domain}, the bundle's is {bundle.trust_domain}"
        return [*problems, text]
    return problems + _signature_problems(token, found.header, bundle)


def validate(
    token: str,
    bundles: Mapping[TrustDomain, TrustBundle],
    audience: Iterable[str],
    now: datetime,
    leeway: timedelta = timedelta(0),
) -> tuple[SpiffeId, Mapping[str, Any]]:
    """The subject and the claims of a valid token, by the bundle of its own trust domain. Raises: JwtError."""
    identity = read(token).spiffe_id
    if identity is None:
        raise JwtError(["its subject is no SPIFFE ID"])
    bundle = bundles.get(identity.trust_domain)
    if bundle is None:
        raise JwtError([f"no trust bundle of {identity.trust_domain} is known here"])
    if problems := svid_problems(token, bundle, audience, now, leeway):
        raise JwtError(problems)
    return identity, read(token).claims


def _header_problems(header: Mapping[str, Any]) -> list[str]:
    problems = [f"has the header {name!r}, which no JWT-SVID has" for name in sorted(set(header) - _HEADER)]
    if header.get("alg") not in ALGORITHMS:
        problems.append(f"its algorithm {header.get('alg')!r} is none of {', '.join(sorted(ALGORITHMS))}")
    if "typ" in header and header["typ"] not in _TYPES:
        problems.append(f"its type {header['typ']!r} is neither JWT nor JOSE")
    if "kid" in header and not isinstance(header["kid"], str):
        problems.append("its key ID is no string")
    return problems


def _claim_problems(
    found: Unverified, audience: tuple[str, ...], now: datetime, leeway: timedelta
) -> list[str]:
    claims, problems = found.claims, list[str]()
    if "sub" not in claims:
        problems.append("has no subject (sub)")
    elif found.spiffe_id is None:
        problems.append(f"its subject is no SPIFFE ID: {_why_no_id(claims['sub'])}")
    if "aud" not in claims:
        problems.append("has no audience (aud)")
    elif not found.audience:
        problems.append("its audience is neither a string nor a list of strings")
    elif not set(audience) & set(found.audience):
        problems.append(f"is for {', '.join(found.audience)}, not for {' or '.join(audience) or 'anybody'}")
    expires = _moment(claims.get("exp"))
    if "exp" not in claims:
        problems.append("has no expiry (exp)")
    elif expires is None:
        problems.append("its expiry is no number of seconds")
    elif now >= expires + leeway:
        problems.append(f"expired at {expires.isoformat()}")
    if "nbf" in claims:
        start = _moment(claims["nbf"])
        if start is None:
            problems.append("its not-before is no number of seconds")
        elif now + leeway < start:
            problems.append(f"is not valid before {start.isoformat()}")
    if "iat" in claims and _moment(claims["iat"]) is None:
        problems.append("its time of issue is no number of seconds")
    return problems


def _signature_problems(token: str, header: Mapping[str, Any], bundle: TrustBundle) -> list[str]:
    """Only `jwt-svid` keys are asked; without a key ID each of them."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        return []
    if not bundle.jwt_authorities:
        return ["the bundle has no JWT keys: every JWT-SVID of the trust domain is revoked"]
    keys = [key for key in bundle.jwt_authorities if kid is None or key.kid == kid]
    if not keys:
        return [f"no key of the bundle has the ID {kid!r}"]
    fitting = [key for key in keys if _fits(key, algorithm)]
    if not fitting:
        return [f"its algorithm {algorithm} does not fit the bundle's key"]
    return [] if any(_verifies(token, key, algorithm) for key in fitting) else ["its signature is wrong"]


def _fits(key: JwtKey, algorithm: str) -> bool:
    match key.key:
        case ec.EllipticCurvePublicKey(curve=curve):
            return _OF_CURVE.get(curve.name) == algorithm
        case rsa.RSAPublicKey():
            return algorithm in _OF_RSA


def _verifies(token: str, key: JwtKey, algorithm: str) -> bool:
    from jwt import PyJWTError

    try:
        _jws().decode_complete(token, key.key, algorithms=[algorithm])
    except PyJWTError:
        return False
    return True


@cache
def _jws() -> PyJWS:
    """PyJWT is loaded for the first token: an agent that sees none does without its memory."""
    from jwt import PyJWS

    return PyJWS(algorithms=list(ALGORITHMS))


def _json(part: str, name: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(
            unpadded(part).decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise JwtError([f"its {name} is no JSON object in base64url"]) from error
    if not isinstance(value, dict):
        raise JwtError([f"its {name} is no JSON object in base64url"])
    return cast("dict[str, Any]", value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers could see two tokens in one with a name twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _moment(value: Any) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _why_no_id(subject: Any) -> str:
    try:
        SpiffeId.parse(subject if isinstance(subject, str) else "")
    except SpiffeIdError as error:
        return str(error)
    return "it is no string"
