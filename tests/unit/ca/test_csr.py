from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from ca import keys
from ca.csr import MAX_BYTES, prove
from ca.errors import CsrError


def a_csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_the_holder_of_a_key_gets_that_key_certified(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    assert prove(a_csr(key)).key == key.public_key()


@pytest.mark.parametrize("hash_", [hashes.SHA256(), hashes.SHA384(), hashes.SHA512()])
def test_a_request_proves_by_each_hash_and_by_no_other_than_its_own(hash_: hashes.HashAlgorithm) -> None:
    key, builder = keys.new_key(), x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = builder.sign(key, hash_).public_bytes(Encoding.DER)  # pyright: ignore[reportArgumentType] - one of its own
    assert prove(der).key == key.public_key()
    written = {32: "02", 48: "03", 64: "04"}  # the last octet of ecdsa-with-SHA…
    other = "03" if written[hash_.digest_size] != "03" else "02"
    claim = bytes.fromhex("06082a8648ce3d0403")
    with pytest.raises(CsrError, match="possession"):
        prove(der.replace(claim + bytes.fromhex(written[hash_.digest_size]), claim + bytes.fromhex(other)))


def test_rsa_of_2048_bits_will_do() -> None:
    key = rsa.generate_private_key(65537, 2048)
    assert prove(a_csr(key)).key == key.public_key()


def test_a_changed_request_proves_nothing() -> None:
    der = a_csr(keys.new_key())
    with pytest.raises(CsrError, match="possession"):
        prove(der[:-1] + bytes([der[-1] ^ 1]))


def test_another_keys_signature_proves_nothing() -> None:
    mine, theirs = keys.new_key(), keys.new_key()
    der = a_csr(mine)
    mine_point, their_point = (
        k.public_key().public_numbers().x.to_bytes(32, "big")
        + k.public_key().public_numbers().y.to_bytes(32, "big")
        for k in (mine, theirs)
    )
    with pytest.raises(CsrError, match="possession"):
        prove(der.replace(mine_point, their_point))


def test_weak_and_unusual_keys_are_refused() -> None:
    for key in (ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 1024)):
        with pytest.raises(CsrError, match="P-256"):
            prove(a_csr(key))
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    edwards = builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)
    with pytest.raises(CsrError, match="P-256"):
        prove(edwards)


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"x" * 100])
def test_what_is_no_request_is_refused(der: bytes) -> None:
    with pytest.raises(CsrError):
        prove(der)


def test_a_request_too_large_is_not_even_parsed() -> None:
    with pytest.raises(CsrError, match="larger"):
        prove(b"\x30" * (MAX_BYTES + 1))


def test_a_request_of_an_unknown_version_is_refused() -> None:
    der = a_csr(keys.new_key())
    with pytest.raises(CsrError):
        prove(der.replace(bytes.fromhex("020100"), bytes.fromhex("020107"), 1))
