"""Parsers of outside bytes end in a value or in their declared error, whatever the bytes are.

Bytes are drawn at random, and made by changing good ones, which gets further into a parser.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ca import bundle as bundles
from ca import jwt_svid, keys, node_codec
from ca.attest.join_token import JoinToken
from ca.csr import prove
from ca.errors import BundleError, CsrError, JwtError, NodeProtocolError, SpiffeIdError, TokenError
from ca.keystore import MemoryKeystore
from ca.node_protocol import Hello, Sign
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain

TD = TrustDomain.parse("example.org")
AUTHORITY = CertificateAuthority.open(TD, MemoryKeystore())
BUNDLE = AUTHORITY.bundle
NOW = datetime.now(UTC)
JWT = AUTHORITY.issue_jwt_id(SpiffeId.parse("spiffe://example.org/w"), ["db"], timedelta(minutes=5)).token
CSR = keys.csr_for(keys.new_key())
TOKEN = JoinToken("127.0.0.1:1", "127.0.0.1:2", "example.org", "ab" * 32, "local", "secret").encode()
FRAME = node_codec.encode([Hello("1"), Sign(1, "a/b", CSR)])

quick = settings(max_examples=60, deadline=None)
id_text = st.text(st.sampled_from("spiffe:/.%?#@-_aZ0é\n\u212a\ud800"), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """`good` with a few bytes replaced, and cut or not."""
    places = st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), max_size=3)

    def damage(changes: list[tuple[int, int]], end: int) -> bytes:
        data = bytearray(good)
        for place, value in changes:
            data[place] = value
        return bytes(data[:end])

    return st.builds(damage, places, st.sampled_from([len(good), len(good) - 1, len(good) // 2]))


def fields(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have some of the right names, with values of any type."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, json_values))


def ends_well(parse: Callable[[], object], *declared: type[Exception]) -> None:
    with contextlib.suppress(*declared):
        parse()


@quick
@given(st.text() | id_text | id_text.map(lambda tail: f"spiffe://{tail}"))
def test_a_spiffe_id_is_printed_as_it_was_read(text: str) -> None:
    try:
        identity = SpiffeId.parse(text)
    except SpiffeIdError:
        return
    assert str(identity) == text
    assert text.isascii()
    assert not set(text) & set("%?#@\n ")


@quick
@given(st.binary(max_size=200) | damaged(CSR))
def test_a_signing_request(der: bytes) -> None:
    ends_well(lambda: prove(der), CsrError)


@quick
@given(st.binary(max_size=200) | damaged(json.dumps(BUNDLE.to_spiffe()).encode()))
def test_a_bundle_document(data: bytes) -> None:
    ends_well(lambda: bundles.from_spiffe(TD, data), BundleError)


@quick
@given(
    fields("keys", "spiffe_sequence", "spiffe_refresh_hint"),
    st.lists(fields("use", "kty", "x5c", "kid", "crv", "x", "y", "n", "e"), max_size=3),
)
def test_a_bundle_document_of_the_right_shape(
    document: dict[str, Any], entries: list[dict[str, Any]]
) -> None:
    ends_well(lambda: bundles.from_spiffe(TD, json.dumps(document)), BundleError)
    for known in (
        {"use": "x509-svid"},
        {"use": "jwt-svid", "kid": "1", "kty": "EC", "crv": "P-256"},
        {"use": "jwt-svid", "kid": "1", "kty": "RSA"},
    ):
        keys = [{**entry, **known} for entry in entries]
        ends_well(
            lambda keys=keys: bundles.from_spiffe(TD, json.dumps({**document, "keys": keys})), BundleError
        )


@quick
@given(st.text() | damaged(JWT.encode()).map(lambda b: b.decode("latin-1")))
def test_a_jwt_svid(token: str) -> None:
    ends_well(lambda: jwt_svid.read(token), JwtError)
    jwt_svid.svid_problems(token, BUNDLE, ["db"], NOW)


@quick
@given(fields("alg", "kid", "typ", "crit"), fields("sub", "aud", "exp", "nbf", "iat"))
def test_a_jwt_svid_of_the_right_shape(header: dict[str, Any], claims: dict[str, Any]) -> None:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims))
    token = b".".join((*parts, b"AAAA")).decode()
    assert jwt_svid.svid_problems(token, BUNDLE, ["db"], NOW)


@quick
@given(st.binary(max_size=200) | damaged(BUNDLE.to_pem().encode()))
def test_a_pem_bundle(data: bytes) -> None:
    ends_well(lambda: bundles.from_pem(TD, data), BundleError)


@quick
@given(
    st.text()
    | st.text().map(lambda tail: f"pylis1.{tail}")
    | damaged(TOKEN.encode()).map(lambda b: b.decode("latin-1"))
)
def test_a_join_token(text: str) -> None:
    ends_well(lambda: JoinToken.decode(text), TokenError)


@quick
@given(st.binary(max_size=200) | damaged(FRAME))
def test_frames(data: bytes) -> None:
    ends_well(lambda: node_codec.decode_from_agent(data), NodeProtocolError)
    ends_well(lambda: node_codec.decode_from_server(data), NodeProtocolError)


@quick
@given(
    st.sampled_from(
        [
            "hello",
            "sign",
            "renew-agent",
            "authorized",
            "signed",
            "refused",
            "sign-jwt",
            "signed-jwt",
            "acknowledge",
        ]
    ),
    fields(
        "version",
        "id",
        "registration",
        "csr",
        "entries",
        "bundle",
        "chain",
        "reason",
        "audience",
        "token",
        "sequence",
        "tainted",
        "federated",
    ),
)
def test_frames_of_the_right_shape(kind: str, message: dict[str, Any]) -> None:
    data = json.dumps([{**message, "type": kind}]).encode()
    ends_well(lambda: node_codec.decode_from_agent(data), NodeProtocolError)
    ends_well(lambda: node_codec.decode_from_server(data), NodeProtocolError)


@quick
@given(json_values | fields("secret", "csr") | fields("agent", "chain", "bundle"))
def test_attestation(value: Any) -> None:
    ends_well(lambda: node_codec.decode_attest(value), NodeProtocolError)
    ends_well(lambda: node_codec.decode_attested(value), NodeProtocolError)
