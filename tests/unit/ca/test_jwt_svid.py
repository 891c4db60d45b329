"""Source: JWT-SVID §2 to §6 (requirements J-01 to J-18)."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from spiffe import JwtBundle, JwtSvid
from spiffe import TrustDomain as PySpiffeTrustDomain

from ca import bundle as bundles
from ca import jwt_svid
from ca.bundle import TrustBundle, jwt_key
from ca.errors import AuthorityError, JwtError
from ca.jwt_svid import ALGORITHMS, JwtSigner, algorithm_of, mint, read, svid_problems, validate
from ca.keys import PrivateKey
from ca.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain.parse("example.org")
ID = SpiffeId.parse("spiffe://example.org/ns/shop/sa/orders")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
KEYS: dict[str, PrivateKey] = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}
KEY = KEYS["ES256"]


def a_signer(key: PrivateKey = KEY, kid: str = "k1") -> JwtSigner:
    life = NOW - timedelta(hours=1), NOW + timedelta(hours=23)
    return JwtSigner(kid, key, algorithm_of(key.public_key()), *life)


def a_bundle(key: PrivateKey = KEY, kid: str = "k1") -> TrustBundle:
    return TrustBundle(TD, (), jwt_authorities=(jwt_key(kid, key.public_key()),))


def minted(*audience: str, signer: JwtSigner | None = None, ttl: timedelta = timedelta(minutes=5)) -> str:
    signer = signer or a_signer()
    return mint(ID, audience or ("db",), signer=signer, now=NOW, ttl=ttl, token_id="t1").token


def made(header: dict[str, Any] | None = None, *, key: Any = KEY, drop: str = "", **claims: Any) -> str:
    """A token that is right but for what is given."""
    body = {"sub": str(ID), "aud": ["db"], "exp": int(NOW.timestamp()) + 300, **claims}
    body.pop(drop, None)
    head = {"alg": "ES256", "kid": "k1", "typ": "JWT", **(header or {})}
    text = f"{b64(json.dumps({k: v for k, v in head.items() if v is not None}))}.{b64(json.dumps(body))}"
    signer = jwt.get_algorithm_by_name("ES256" if key is KEY else head["alg"])
    return f"{text}.{b64(signer.sign(text.encode(), key))}"


def b64(data: str | bytes) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def problems(token: str, audience: str = "db", now: datetime = NOW, key: PrivateKey = KEY) -> str:
    return "; ".join(svid_problems(token, a_bundle(key), [audience], now))


@pytest.mark.spiffe("J-01", "J-03", "J-07", "J-08", "J-11", "ID-21")
def test_what_is_minted_is_valid_and_says_what_it_must() -> None:
    token = minted("db", "cache")
    assert problems(token) == problems(token, "cache") == ""
    found = read(token)
    assert found.header == {"alg": "ES256", "kid": "k1", "typ": "JWT"}
    assert found.claims["sub"] == str(ID)
    assert found.claims["aud"] == ["db", "cache"]
    assert found.claims["exp"] == int(NOW.timestamp()) + 300
    assert token.count(".") == 2


@pytest.mark.spiffe("J-03", "J-04")
@pytest.mark.parametrize("name", KEYS)
def test_every_kind_of_authority_signs_what_its_key_verifies(name: str) -> None:
    key = KEYS[name]
    token = minted(signer=a_signer(key))
    assert read(token).header["alg"] == name
    assert problems(token, key=key) == ""
    other = next(k for n, k in KEYS.items() if n != name)
    assert "does not fit" in problems(token, key=other)


@pytest.mark.spiffe("J-03")
@pytest.mark.parametrize("name", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_every_rsa_algorithm_is_understood(name: str) -> None:
    key = KEYS["RS256"]
    assert problems(made({"alg": name}, key=key), key=key) == ""


def test_py_spiffe_accepts_what_is_minted() -> None:
    now = datetime.now(UTC)
    signer = JwtSigner("k1", KEY, "ES256", now - timedelta(minutes=1), now + timedelta(hours=1))
    token = mint(ID, ["db"], signer=signer, now=now, ttl=timedelta(minutes=5), token_id="t").token
    document = json.dumps(a_bundle().to_jwks()).encode()
    bundle = JwtBundle.parse(PySpiffeTrustDomain("example.org"), document)
    assert str(JwtSvid.parse_and_validate(token, bundle, {"db"}).spiffe_id) == str(ID)


@pytest.mark.spiffe("J-18")
def test_a_token_ends_with_its_authority_and_lives_short_by_itself() -> None:
    assert timedelta(minutes=5) == jwt_svid.JWT_TTL
    end = read(minted(ttl=timedelta(days=30))).claims["exp"]
    assert end == int((NOW + timedelta(hours=23)).timestamp())
    with pytest.raises(AuthorityError):
        mint(ID, ["db"], signer=a_signer(), now=NOW + timedelta(days=2), ttl=timedelta(1), token_id="t")


@pytest.mark.spiffe("J-08", "J-10")
@pytest.mark.parametrize("name", KEYS)
def test_the_parts_are_as_pyjwt_makes_them_of_the_same(name: str) -> None:
    token = minted("db", "ü", signer=a_signer(KEYS[name]))
    decoded = jwt.decode_complete(token, options={"verify_signature": False})
    assert decoded["header"] == {"alg": name, "kid": "k1", "typ": "JWT"}
    again = jwt.encode(decoded["payload"], KEYS[name], name, headers={"kid": "k1"})
    made_again = jwt.decode_complete(again, options={"verify_signature": False})
    assert (made_again["header"], made_again["payload"]) == (decoded["header"], decoded["payload"])
    assert len(made_again["signature"]) == len(decoded["signature"])
    assert "=" not in token


@pytest.mark.parametrize("audience", [[], [""], ["a\n"], ["a"] * 33, ["x" * 1025]])
def test_a_token_for_nobody_is_not_minted(audience: list[str]) -> None:
    with pytest.raises(JwtError):
        mint(ID, audience, signer=a_signer(), now=NOW, ttl=timedelta(minutes=5), token_id="t")


@pytest.mark.spiffe("J-01")
@pytest.mark.parametrize(
    "token",
    ["", "a.b", "a.b.c", "...", json.dumps({"payload": "", "signatures": []}), minted() + "=", minted() + ".x",
     minted().replace(".", ".\n", 1), " " + minted(), "x" * 20_000, b64("[]") + "." + b64("{}") + "." + b64("x"),
     b64('{"alg":"ES256","alg":"none"}') + "." + b64("{}") + "." + b64("x"),
     b64("[" * 50_000)[:9000] + "." + b64("{}") + "." + b64("x"), b64('{"a":NaN}') + "." + b64("{}") + ".eA"],
)  # fmt: skip
def test_what_is_no_compact_jws_is_not_read(token: str) -> None:
    with pytest.raises(JwtError):
        read(token)
    assert svid_problems(token, a_bundle(), ["db"], NOW)


@pytest.mark.spiffe("J-02")
@pytest.mark.parametrize("name", ["jku", "jwk", "x5c", "crit", "cty", "x5u", "b64"])
def test_other_headers_are_refused(name: str) -> None:
    assert f"has the header '{name}'" in problems(made({name: ["x"]}))


@pytest.mark.spiffe("J-04")
@pytest.mark.parametrize(
    "name", ["none", "None", "HS256", "HS512", "EdDSA", "ES256K", "", 1, None, ["ES256"]]
)
def test_other_algorithms_are_refused_before_the_signature_is_looked_at(name: Any) -> None:
    found = problems(made({"alg": name}))
    assert "its algorithm" in found
    assert "signature" not in found


@pytest.mark.spiffe("J-05")
def test_a_key_id_is_optional_and_must_be_known_when_there() -> None:
    assert problems(made({"kid": None})) == ""
    assert "no key of the bundle" in problems(made({"kid": "k2"}))
    assert "no string" in problems(made({"kid": 1}))


@pytest.mark.spiffe("J-06")
@pytest.mark.parametrize("kind", ["jwt", "wit+jwt", "at+jwt", "", 1])
def test_another_type_is_refused(kind: Any) -> None:
    assert "its type" in problems(made({"typ": kind}))
    assert problems(made({"typ": "JOSE"})) == problems(made({"typ": None})) == ""


@pytest.mark.spiffe("J-07")
@pytest.mark.parametrize(
    "subject", ["", "orders", "https://example.org/x", "spiffe://example.org/../x", 1, None]
)
def test_a_subject_that_is_no_spiffe_id_is_refused(subject: Any) -> None:
    assert "its subject is no SPIFFE ID" in problems(made(sub=subject))
    assert "has no subject" in problems(made(drop="sub"))


@pytest.mark.spiffe("J-09")
def test_the_audience_must_be_there_and_be_ours() -> None:
    assert "has no audience" in problems(made(drop="aud"))
    assert "not for web" in problems(made(), "web")
    assert problems(made(aud="db")) == ""
    for nothing in ([], {}, 1, None, ["db", 1]):
        assert "neither a string nor a list" in problems(made(aud=nothing))


@pytest.mark.spiffe("J-12", "J-13")
def test_the_expiry_must_be_there_and_ahead() -> None:
    assert "has no expiry" in problems(made(drop="exp"))
    for odd in ("1", None, True, [1], 10**30):
        assert "no number of seconds" in problems(made(exp=odd))
    moment = int(NOW.timestamp())
    assert "expired at" in problems(made(exp=moment))
    assert "expired at" in problems(made(exp=moment - 1))
    assert problems(made(exp=moment + 0.5)) == ""
    assert svid_problems(made(exp=moment - 5), a_bundle(), ["db"], NOW, timedelta(seconds=10)) == []


def test_not_before_is_kept() -> None:
    assert "is not valid before" in problems(made(nbf=int(NOW.timestamp()) + 1))
    assert problems(made(nbf=int(NOW.timestamp()))) == ""
    assert "no number" in problems(made(nbf="x"))
    assert "time of issue" in problems(made(iat="x"))


@pytest.mark.spiffe("J-17", "B-10", "ID-21", "A-14", "A-31")
def test_only_the_bundles_jwt_keys_verify() -> None:
    assert "its signature is wrong" in problems(made(), key=ec.generate_private_key(ec.SECP256R1()))
    head, body, signature = made().split(".")
    assert "its signature is wrong" in problems(f"{head}.{body}.{signature[:-4]}AAAA")
    forged = b64(json.dumps({"sub": str(ID), "aud": "db", "exp": 1 << 40}))
    assert "its signature is wrong" in problems(f"{head}.{forged}.{signature}")
    empty = TrustBundle(TD, a_bundle().x509_authorities)
    assert svid_problems(made(), empty, ["db"], NOW) == [
        "the bundle has no JWT keys: every JWT-SVID of the trust domain is revoked"
    ]


def test_an_hmac_with_the_public_key_proves_nothing() -> None:
    public = a_bundle().jwt_authorities[0].spki
    assert "its algorithm 'HS256'" in problems(made({"alg": "HS256"}, key=public))


@pytest.mark.spiffe("B-01", "A-40", "A-13")
def test_the_bundle_is_that_of_the_subjects_trust_domain() -> None:
    other = TrustDomain.parse("other.org")
    theirs = TrustBundle(other, (), jwt_authorities=a_bundle().jwt_authorities)
    assert "its trust domain is" in svid_problems(made(), theirs, ["db"], NOW)[0]
    with pytest.raises(JwtError, match="no trust bundle"):
        validate(made(), {other: theirs}, ["db"], NOW)
    identity, claims = validate(made(color="blue"), {TD: a_bundle(), other: theirs}, ["db"], NOW)
    assert (identity, claims["color"]) == (ID, "blue")
    for token in (made(sub="x"), made(exp=1)):
        with pytest.raises(JwtError):
            validate(token, {TD: a_bundle()}, ["db"], NOW)


def test_every_reason_is_listed() -> None:
    found = svid_problems(made({"jku": "x"}, aud="web", exp=1), a_bundle(), ["db"], NOW)
    assert len(found) == 3


def test_the_token_is_in_no_repr() -> None:
    svid = mint(ID, ["db"], signer=a_signer(), now=NOW, ttl=timedelta(minutes=5), token_id="t")
    assert svid.token not in repr(svid)
    assert "EllipticCurvePrivateKey" not in repr(a_signer())


@pytest.mark.spiffe("J-16", "J-17", "A-33")
def test_keys_travel_in_the_bundle_and_only_they_in_the_jwks() -> None:
    bundle = a_bundle()
    entry = bundle.to_spiffe()["keys"][0]
    assert (entry["use"], entry["kid"]) == ("jwt-svid", "k1")
    assert set(entry) == {"kty", "crv", "x", "y", "kid", "use"}
    assert bundles.from_spiffe(TD, json.dumps(bundle.to_spiffe())).jwt_authorities == bundle.jwt_authorities
    assert len(ALGORITHMS) == 9
