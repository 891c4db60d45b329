"""Source: RFC 7517, RFC 7518 §6; the vectors are RFC 7517's own (appendix A.1)."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ca.errors import JwkError
from ca.jwk import from_jwk, to_jwk, unpadded

RFC7517_EC = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
}
RFC7517_RSA = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o"
    "knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6q"
    "MQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJz"
    "KnqDKgw",
    "e": "AQAB",
}


@pytest.mark.parametrize("jwk", [RFC7517_EC, RFC7517_RSA])
def test_the_rfcs_keys_are_read_and_written_as_they_stand(jwk: dict[str, str]) -> None:
    assert to_jwk(from_jwk(jwk)) == jwk


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_coordinates_are_written_at_full_length(curve: ec.EllipticCurve) -> None:
    size = (curve.key_size + 7) // 8
    for _ in range(20):
        jwk = to_jwk(ec.generate_private_key(curve).public_key())
        assert len(unpadded(jwk["x"])) == len(unpadded(jwk["y"])) == size


@pytest.mark.parametrize(
    "jwk",
    [{}, {"kty": "OKP", "crv": "Ed25519", "x": "AA"}, {"kty": "oct", "k": "AA"}, {**RFC7517_EC, "crv": "secp256k1"}, {**RFC7517_EC, "crv": []},
     {"kty": "RSA", "n": "_" * 172, "e": "AQAB"}, {**RFC7517_RSA, "e": "_" * 100}],
)  # fmt: skip
def test_kinds_not_used_here_are_no_error(jwk: dict[str, Any]) -> None:
    assert from_jwk(jwk) is None


@pytest.mark.parametrize(
    "change",
    [{"x": ""}, {"x": None}, {"x": 1}, {"x": RFC7517_EC["x"] + "="}, {"x": RFC7517_EC["x"][:-2]},
     {"y": RFC7517_EC["x"]}, {"x": "A" * 43}, {"x": "+" + RFC7517_EC["x"][1:]}],
)  # fmt: skip
def test_a_damaged_key_is_one(change: dict[str, Any]) -> None:
    with pytest.raises(JwkError):
        from_jwk({**RFC7517_EC, **change})


def test_keys_of_other_kinds_are_not_written() -> None:
    with pytest.raises(JwkError):
        to_jwk(ed25519.Ed25519PrivateKey.generate().public_key())
    assert to_jwk(rsa.generate_private_key(65537, 2048).public_key())["e"] == "AQAB"


@pytest.mark.parametrize("text", ["", "A", "AB", "AA==", "A A", "é", "AA\n"])
def test_base64url_has_one_form(text: str) -> None:
    with pytest.raises(ValueError):
        unpadded(text)
