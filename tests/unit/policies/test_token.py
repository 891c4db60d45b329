import base64
import hmac
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from policies.authentication import DEFAULT_LOCATIONS, Authentication, JwtRule, Location, Where
from policies.request import Request
from policies.token import Fault, Refusal, authenticate, cookies, find, normalized, verify

NOW = 1_800_000_000.0
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())


def a_jwk(**fields: str) -> dict[str, Any]:
    return {**jwt.algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "kid": "r", **fields}


EC_JWK = {**jwt.algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "kid": "e"}
JWKS = json.dumps({"keys": [a_jwk(), EC_JWK]})
RULE = JwtRule("shop/t jwtRules[0]", "me", jwks=JWKS)


def signed(claims: dict[str, Any], *, kid: str = "r", algorithm: str = "RS256") -> str:
    key = RSA if algorithm == "RS256" else EC
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm, {"kid": kid} if kid else {})


def checked(claims: dict[str, Any], rule: JwtRule = RULE) -> dict[str, Any] | Fault:
    return verify(signed(claims), rule, NOW, {})


def test_a_good_token_gives_its_payload() -> None:
    assert checked({"iss": "me", "sub": "s"}) == {"iss": "me", "sub": "s"}
    assert verify(signed({"iss": "me"}, kid="e", algorithm="ES256"), RULE, NOW, {}) == {"iss": "me"}
    assert verify(signed({"iss": "me"}, kid=""), RULE, NOW, {}) == {"iss": "me"}


@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"iss": "you"}, Fault.UNKNOWN),
        ({}, Fault.UNKNOWN),
        ({"iss": "me", "sub": 5}, Fault.INVALID),
        ({"iss": "me", "exp": NOW - 61}, Fault.INVALID),
        ({"iss": "me", "nbf": NOW + 61}, Fault.INVALID),
        ({"iss": "me", "exp": "soon"}, Fault.INVALID),
    ],
)
def test_claims_that_do_not_hold(claims: dict[str, Any], fault: Fault) -> None:
    assert checked(claims) is fault


def test_clocks_may_be_a_minute_apart() -> None:
    assert isinstance(checked({"iss": "me", "exp": NOW - 59, "nbf": NOW + 59}), dict)


def test_without_a_clock_no_token_is_good() -> None:
    assert verify(signed({"iss": "me"}), RULE, None, {}) is Fault.INVALID


def test_any_issuer_where_none_is_named() -> None:
    assert checked({"iss": "anyone"}, replace(RULE, issuer="")) == {"iss": "anyone"}


@pytest.mark.parametrize(
    ("audience", "meets"),
    [("red", True), (["x", "red"], True), ("https://red/", True), ("blue", False), (None, False), (5, False)],
)
def test_audiences(audience: Any, meets: bool) -> None:
    found = checked({"iss": "me", "aud": audience}, replace(RULE, audiences=("red",)))
    assert isinstance(found, dict) is meets
    assert meets or found is Fault.AUDIENCE


def test_forgeries() -> None:
    head, _, signature = signed({"iss": "me"}).split(".")
    other = base64.urlsafe_b64encode(json.dumps({"iss": "me", "sub": "root"}).encode()).decode().rstrip("=")
    assert verify(f"{head}.{other}.{signature}", RULE, NOW, {}) is Fault.INVALID
    unsigned = base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("=")
    assert verify(f"{unsigned}.{other}.", RULE, NOW, {}) is Fault.INVALID
    # the public key is no secret: HS256 with it must not pass
    secret = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "r"}, {"iss": "me"})]
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = base64.urlsafe_b64encode(hmac.digest(secret, body, "sha256")).rstrip(b"=")
    assert verify(f"{body.decode()}.{mac.decode()}", RULE, NOW, {}) is Fault.INVALID
    for text in ("", "garbage", "a.b", "a.b.c", "....", f"{head}.{other}.{signature}=x"):
        assert verify(text, RULE, NOW, {}) is Fault.INVALID


def test_a_key_is_used_for_its_own_algorithm_and_id() -> None:
    wrong = replace(RULE, jwks=json.dumps({"keys": [a_jwk(alg="RS512")]}))
    assert verify(signed({"iss": "me"}), wrong, NOW, {}) is Fault.INVALID
    other = replace(RULE, jwks=json.dumps({"keys": [a_jwk(kid="other")]}))
    assert verify(signed({"iss": "me"}), other, NOW, {}) is Fault.INVALID


def test_fetched_keys_go_by_their_source_and_without_them_nothing_is_good() -> None:
    rule = replace(RULE, jwks="", jwks_uri="https://idp/keys")
    assert verify(signed({"iss": "me"}), rule, NOW, {}) is Fault.INVALID
    assert verify(signed({"iss": "me"}), rule, NOW, {"https://idp/keys": JWKS}) == {"iss": "me"}
    discovered = replace(RULE, jwks="", issuer="https://idp/")
    assert discovered.key_source == "https://idp/.well-known/openid-configuration"


BEARER, PARAM = DEFAULT_LOCATIONS


@pytest.mark.parametrize(
    ("location", "request_", "token"),
    [
        (BEARER, Request(headers={"authorization": "Bearer abc"}), "abc"),
        (BEARER, Request(headers={"authorization": "Bearer  abc x"}), "abc"),
        (BEARER, Request(headers={"authorization": "Bearer abc,"}), "abc,"),
        (BEARER, Request(headers={"authorization": "bearer abc"}), None),
        (BEARER, Request(headers={"authorization": "Bearer "}), "Bearer "),
        (BEARER, Request(), None),
        (Location(Where.HEADER, "x-t"), Request(headers={"x-t": "abc"}), "abc"),
        (PARAM, Request(path="/a?b=c&access_token=abc"), "abc"),
        (PARAM, Request(path="/a?access_token="), ""),
        (PARAM, Request(path="/access_token=abc"), None),
        (Location(Where.COOKIE, "jar"), Request(headers={"cookie": "a=b; jar=abc; jar=x"}), "abc"),
        (Location(Where.COOKIE, "jar"), Request(headers={"cookie": "jarx=abc"}), None),
    ],
)
def test_where_a_token_stands(location: Location, request_: Request, token: str | None) -> None:
    assert find(location, request_) == token


def test_cookies_may_be_quoted() -> None:
    assert cookies('a="b"; c') == {"a": "b"}


def bearer(claims: dict[str, Any], **more: str) -> Request:
    return Request(method="GET", headers={"authorization": f"Bearer {signed(claims)}", **more})


def after(request: Request, *rules: JwtRule) -> Request | Refusal:
    return authenticate(Authentication(rules), request, NOW, {})


def test_no_token_passes_unless_one_is_required() -> None:
    assert after(Request(), RULE) == Request()
    assert after(Request(), replace(RULE, required=True)) == Refusal("token-missing", 401)
    assert isinstance(after(bearer({"iss": "me"}), replace(RULE, required=True)), Request)
    other = replace(RULE, issuer="you", required=True)
    assert after(bearer({"iss": "me"}), RULE, other) == Refusal("token-invalid", 401)


def test_401_and_403_are_told_apart() -> None:
    assert after(bearer({"iss": "you"}), RULE) == Refusal("token-invalid", 401)
    picky = replace(RULE, audiences=("red",))
    assert after(bearer({"iss": "me", "aud": "blue"}), picky) == Refusal("token-audience", 403)


def test_a_token_is_taken_away_unless_it_is_forwarded() -> None:
    taken = after(bearer({"iss": "me", "scope": "a b"}), RULE)
    assert isinstance(taken, Request)
    assert (dict(taken.headers), taken.claims) == ({}, {"iss": "me", "scope": ["a", "b"]})
    kept = after(bearer({"iss": "me"}), replace(RULE, forward=True))
    assert isinstance(kept, Request)
    assert "authorization" in kept.headers


def test_a_good_token_lets_no_bad_one_pass_elsewhere() -> None:
    there = replace(RULE, source="other", issuer="you", locations=(Location(Where.HEADER, "x-t"),))
    good = signed({"iss": "you"})
    assert isinstance(after(bearer({"iss": "me"}, **{"x-t": good}), RULE, there), Request)
    assert after(bearer({"iss": "me"}, **{"x-t": "garbage"}), RULE, there) == Refusal("token-invalid", 401)
    assert after(bearer({"iss": "no"}, **{"x-t": good}), RULE, there) == Refusal("token-invalid", 401)


def test_claims_go_to_headers_that_nobody_else_writes() -> None:
    rule = replace(RULE, claim_headers=(("x-team", "deep.team"), ("x-n", "n")), payload_header="x-payload")
    sent = bearer(
        {"iss": "me", "deep": {"team": "red"}, "n": 5}, **{"x-team": "forged", "x-payload": "forged"}
    )
    seen = after(sent, rule)
    assert isinstance(seen, Request)
    assert (seen.headers["x-team"], seen.headers["x-n"]) == ("red", "5")
    assert seen.headers["x-payload"] == sent.headers["authorization"].split(".")[1]
    bare = after(Request(headers={"x-team": "forged"}), rule)
    assert isinstance(bare, Request)
    assert not bare.headers


def test_a_preflight_passes_with_a_bad_token() -> None:
    headers = {"authorization": "Bearer x", "origin": "o", "access-control-request-method": "GET"}
    assert isinstance(after(Request(method="OPTIONS", headers=headers), RULE), Request)
    assert isinstance(after(Request(method="GET", headers=headers), RULE), Refusal)


def test_words_between_spaces_are_a_list() -> None:
    assert normalized({"scope": "a  b", "x": "a b"}, ("scope", "none")) == {"scope": ["a", "b"], "x": "a b"}
