from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca.attest import x509pop
from ca.errors import AttestationError

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def a_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


class Authority:
    """A root, or an authority below another."""

    def __init__(self, name: str, above: Authority | None = None, path_length: int | None = None) -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        signer = above or self
        self.certificate = signer.sign(self.key.public_key(), name, ca=True, path_length=path_length)

    def sign(
        self, key: Any, name: str, *, ca: bool = False, path_length: int | None = None, **more: Any
    ) -> Any:
        builder = (
            x509.CertificateBuilder()
            .subject_name(a_name(name))
            .issuer_name(a_name(self.name))
            .public_key(key)
            .serial_number(more.get("serial", 77))
            .not_valid_before(more.get("start", NOW - DAY))
            .not_valid_after(more.get("end", NOW + DAY))
            .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        )
        for extension in more.get("extensions", ()):
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self.key, hashes.SHA256())


ROOT = Authority("devices")
KEY = ec.generate_private_key(ec.SECP256R1())


def der(*certificates: Any) -> list[bytes]:
    return [one.public_bytes(Encoding.DER) for one in certificates]


def refused(words: str, *certificates: Any, roots: tuple[Any, ...] = (ROOT.certificate,)) -> None:
    with pytest.raises(AttestationError, match=words):
        x509pop.check_chain(der(*certificates), roots, NOW)


def test_a_machine_of_a_trusted_authority_is_known_by_its_names() -> None:
    names = x509.SubjectAlternativeName(
        [x509.DNSName("h7.example"), x509.UniformResourceIdentifier("urn:h7")]
    )
    leaf = ROOT.sign(KEY.public_key(), "host-7", extensions=[names])
    chain = x509pop.check_chain(der(leaf), [ROOT.certificate], NOW)
    assert x509pop.selectors(chain) == {
        "x509pop:subject:cn:host-7", "x509pop:serialnumber:4d", "x509pop:san:dns:h7.example", "x509pop:san:uri:urn:h7",
    }  # fmt: skip
    assert x509pop.agent_name(leaf).startswith("x509pop.")
    assert x509pop.agent_name(leaf) != x509pop.agent_name(ROOT.sign(KEY.public_key(), "host-7"))


def test_authorities_in_between_are_followed_and_are_selectors() -> None:
    between = Authority("site", ROOT)
    leaf = between.sign(KEY.public_key(), "host-7")
    chain = x509pop.check_chain(der(leaf, between.certificate), [ROOT.certificate], NOW)
    fingerprint = between.certificate.fingerprint(hashes.SHA256()).hex()
    assert f"x509pop:ca:fingerprint:{fingerprint}" in x509pop.selectors(chain)
    refused("no authority that may vouch", leaf)


def test_a_chain_that_does_not_hold_is_refused() -> None:
    leaf = ROOT.sign(KEY.public_key(), "host-7")
    namesake = Authority("devices")
    refused("no authority that may vouch", namesake.sign(KEY.public_key(), "host-7"))
    refused("no authority that may vouch", leaf, roots=())
    refused("an authority's, not a machine's", ROOT.certificate)
    refused("not signed link by link", leaf, Authority("other", ROOT).certificate)
    refused("not valid at", ROOT.sign(KEY.public_key(), "old", end=NOW - timedelta(hours=1)))
    refused("not valid at", ROOT.sign(KEY.public_key(), "new", start=NOW + timedelta(hours=1)))
    machine = Authority("host", ROOT)
    machine.certificate = ROOT.sign(machine.key.public_key(), "host")  # a machine that signs another
    refused("may sign no others", machine.sign(KEY.public_key(), "x"), machine.certificate)


def test_an_authority_signs_through_no_more_than_it_may() -> None:
    root = Authority("short", path_length=0)
    between = Authority("site", root)
    refused(
        "more authorities than it may", between.sign(KEY.public_key(), "h"), between.certificate,
        roots=(root.certificate,),
    )  # fmt: skip


def test_what_costs_is_bounded_before_it_is_verified() -> None:
    leaf = ROOT.sign(KEY.public_key(), "host-7")
    refused("at most 5 certificates", *[leaf] * 6)
    refused("a key is none of", ROOT.sign(rsa.generate_private_key(65537, 1024).public_key(), "weak"))
    for junk in ([], [b""], [b"\x30\x03abc"], [b"\x00" * 20_000]):
        with pytest.raises(AttestationError):
            x509pop.check_chain(junk, [ROOT.certificate], NOW)


def test_a_key_that_may_not_sign_proves_nothing() -> None:
    usage = x509.KeyUsage(False, False, True, False, False, False, False, False, False)
    refused("may not sign", ROOT.sign(KEY.public_key(), "host-7", extensions=[usage]))


@pytest.mark.parametrize("key", [KEY, rsa.generate_private_key(65537, 2048)], ids=["ec", "rsa"])
def test_a_signature_holds_for_one_challenge_one_request_and_one_trust_domain(key: Any) -> None:
    leaf = ROOT.sign(key.public_key(), "host-7")
    text = x509pop.statement("example.org", b"nonce", b"csr")
    signature = x509pop.sign(key, text)
    x509pop.check_signature(leaf, signature, text)
    others = [
        x509pop.statement("example.org", b"nonce", b"other"),
        x509pop.statement("example.org", b"other", b"csr"),
        x509pop.statement("other.org", b"nonce", b"csr"),
        x509pop.statement("example.or", b"gnonce", b"csr"),  # no two statements run together
    ]
    for other in others:
        with pytest.raises(AttestationError, match="does not prove"):
            x509pop.check_signature(leaf, signature, other)
    with pytest.raises(AttestationError, match="does not prove"):
        x509pop.check_signature(leaf, b"", text)
