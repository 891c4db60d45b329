from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from ca import node_codec
from ca.bundle import TrustBundle
from ca.errors import NodeProtocolError
from ca.keystore import MemoryKeystore
from ca.node_codec import MAX_FRAME, MAX_MESSAGES
from ca.node_protocol import (
    Acknowledge,
    Attest,
    Attested,
    Authorized,
    Entry,
    Hello,
    KeyEvidence,
    OidcEvidence,
    Ping,
    Pong,
    Refused,
    RenewAgent,
    Sign,
    Signed,
    SignedJwt,
    SignJwt,
    TokenEvidence,
)
from ca.registrations import Registration
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain, workload_id

TD = TrustDomain.parse("example.org")


@pytest.fixture(scope="module")
def bundle() -> TrustBundle:
    return CertificateAuthority.open(TD, MemoryKeystore()).bundle


def an_entry() -> Entry:
    registration = Registration(
        "shop/orders", workload_id(TD, "shop", "orders"), frozenset({"unix:uid:1", "unix:gid:2"}),
        frozenset({"*"}),
        timedelta(minutes=30), ("orders.shop",), "main",
    )  # fmt: skip
    return Entry.of(registration)


def test_an_entry_is_what_an_agent_needs_of_a_registration() -> None:
    entry = an_entry()
    assert (entry.name, entry.spiffe_id) == ("shop/orders", "spiffe://example.org/ns/shop/sa/orders")
    assert (entry.selectors, entry.ttl_seconds) == (("unix:gid:2", "unix:uid:1"), 1800)


def test_an_agents_messages_are_read_back() -> None:
    messages = [Hello(""), Hello("7", "ab"), Pong(5), Sign(1, "shop/orders", b"\x30\x00"), RenewAgent(2, b"\x30"),
                SignJwt(3, "shop/orders", ("db", "web")), SignJwt(4, "a/b", ()), Acknowledge(7)]  # fmt: skip
    assert node_codec.decode_from_agent(node_codec.encode(messages)) == messages


def test_the_servers_messages_are_read_back(bundle: TrustBundle) -> None:
    messages = [
        Authorized((an_entry(),), bundle),
        Authorized(
            (), bundle, ("ab12",), (TrustBundle(TrustDomain.parse("other.org"), bundle.x509_authorities),)
        ),
        SignedJwt(3, "a.b.c", 1, 2),
        Signed(1, (b"a", b"b")),
        Refused(2, "no"),
        Ping(5),
        Authorized((), bundle, cut_off=("spiffe://example.org/ns/shop/sa/orders",)),
    ]
    assert node_codec.decode_from_server(node_codec.encode(messages)) == messages


def test_attestation_is_read_back(bundle: TrustBundle) -> None:
    answer = Attested("one", (b"leaf", b"ca"), bundle)
    for evidence in (TokenEvidence("secret"), KeyEvidence("c1", b"\x00"), OidcEvidence("a.b.c")):
        request = Attest(evidence, b"\x30")
        assert node_codec.decode_attest(json.loads(node_codec.encode_attest(request))) == request
    assert node_codec.decode_attested(json.loads(json.dumps(node_codec.attested_json(answer)))) == answer


def test_evidence_of_no_known_kind_is_refused() -> None:
    with pytest.raises(NodeProtocolError, match="method is none of"):
        node_codec.decode_attest({"method": "hope", "secret": "x", "csr": "AA=="})


def test_an_agent_cannot_speak_as_the_server(bundle: TrustBundle) -> None:
    with pytest.raises(NodeProtocolError, match="unknown type"):
        node_codec.decode_from_agent(node_codec.encode([Signed(1, (b"a",))]))


@pytest.mark.parametrize(
    "message",
    [
        None, 1, [], {}, {"type": "hello"}, {"type": "hello", "version": 1}, {"type": 1},
        {"type": "nonsense"},
        {"type": "sign", "id": True, "registration": "a/b", "csr": "AA=="},
        {"type": "sign", "id": -1, "registration": "a/b", "csr": "AA=="},
        {"type": "sign", "id": 1.5, "registration": "a/b", "csr": "AA=="},
        {"type": "sign", "id": 1 << 60, "registration": "a/b", "csr": "AA=="},
        {"type": "sign", "id": 1, "registration": "", "csr": "AA=="},
        {"type": "sign", "id": 1, "registration": "a/b", "csr": "A"},
        {"type": "sign", "id": 1, "registration": "a/b", "csr": "é"},
        {"type": "renew-agent", "id": 1},
        {"type": "sign-jwt", "id": 1, "registration": "a/b", "audience": "db"},
        {"type": "sign-jwt", "id": 1, "registration": "a/b", "audience": [1]},
        {"type": "acknowledge", "sequence": -1},
    ],
)  # fmt: skip
def test_a_message_that_is_not_exactly_right_is_refused(message: Any) -> None:
    with pytest.raises(NodeProtocolError):
        node_codec.decode_from_agent(json.dumps([message]).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[", b"\xff", b"[" * 100_000, b"[" + b"1" * 9000 + b"]"])
def test_a_frame_that_is_no_list_of_messages_is_refused(data: bytes) -> None:
    with pytest.raises(NodeProtocolError):
        node_codec.decode_from_agent(data)


def test_frames_are_bounded() -> None:
    with pytest.raises(NodeProtocolError, match="larger"):
        node_codec.decode_from_agent(b" " * (MAX_FRAME + 1))
    with pytest.raises(NodeProtocolError, match="at most"):
        node_codec.decode_from_agent(json.dumps([0] * (MAX_MESSAGES + 1)).encode())


def test_secrets_are_not_in_the_repr() -> None:
    assert "s3cret" not in repr(Attest(TokenEvidence("s3cret"), b"")) + repr(
        Attest(OidcEvidence("s3cret"), b"")
    ) + repr(Sign(1, "a/b", b"s3cret"))
