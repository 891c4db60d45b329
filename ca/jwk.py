"""Public keys as JSON Web Keys, and back. Pure: which use a key has is the bundle's business.

Source: RFC 7517 §4; RFC 7518 §6.2 (EC: coordinates at full length), §6.3 (RSA)
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ca.csr import MAX_RSA_EXPONENT, PublicKey
from ca.errors import JwkError

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 8192  # a larger one makes each signature check slow
_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_CURVE_NAMES: Final = {curve.name: name for name, curve in _CURVES.items()}


def to_jwk(key: object) -> dict[str, str]:
    """kty with its parameters. Raises: JwkError for a key of another kind."""
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVE_NAMES:
            numbers, size = key.public_numbers(), _size(key.curve)
            point = {"x": _b64(numbers.x, size), "y": _b64(numbers.y, size)}
            return {"kty": "EC", "crv": _CURVE_NAMES[key.curve.name], **point}
        case rsa.RSAPublicKey():
            public = key.public_numbers()
            return {"kty": "RSA", "n": _b64(public.n), "e": _b64(public.e)}
        case _:
            raise JwkError("a key that is neither EC on a NIST curve nor RSA")


def from_jwk(fields: Mapping[str, Any]) -> PublicKey | None:
    """None for a kind of key that is not used here (also: RSA too short). Raises: JwkError when damaged."""
    match fields.get("kty"), fields.get("crv"):
        case "EC", str(name) if name in _CURVES:
            return _curve_point(fields, _CURVES[name])
        case "RSA", _:
            return _rsa(fields)
        case _:
            return None


def _curve_point(fields: Mapping[str, Any], curve: ec.EllipticCurve) -> PublicKey:
    x, y = _bytes(fields, "x"), _bytes(fields, "y")
    if len(x) != _size(curve) or len(y) != _size(curve):
        raise JwkError("a coordinate is not of the curve's length")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    try:
        return numbers.public_key()
    except ValueError as error:
        raise JwkError("the point is not on the curve") from error


def _rsa(fields: Mapping[str, Any]) -> PublicKey | None:
    n, e = int.from_bytes(_bytes(fields, "n"), "big"), int.from_bytes(_bytes(fields, "e"), "big")
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or e >= MAX_RSA_EXPONENT:
        return None
    try:
        return rsa.RSAPublicNumbers(e, n).public_key()
    except ValueError as error:
        raise JwkError("the numbers are no RSA key") from error


def _size(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _bytes(fields: Mapping[str, Any], name: str) -> bytes:
    value = fields.get(name)
    try:
        return unpadded(value if isinstance(value, str) else "")
    except ValueError as error:
        raise JwkError(f"{name} is not base64url") from error


def unpadded(text: str) -> bytes:
    """base64url without padding, and only that. Raises: ValueError."""
    data = text.encode("ascii")
    if not data or b"=" in data or b"+" in data or b"/" in data or len(data) % 4 == 1:
        raise ValueError("not base64url")
    try:
        found = base64.b64decode(data + b"=" * (-len(data) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64.urlsafe_b64encode(found).rstrip(b"=") != data:
        raise ValueError("not base64url in its one right form")
    return found


def _b64(number: int, size: int = 0) -> str:
    size = size or (number.bit_length() + 7) // 8
    return base64.urlsafe_b64encode(number.to_bytes(size, "big")).rstrip(b"=").decode("ascii")
