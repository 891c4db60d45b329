from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from ca import keys
from ca.csr import prove


def test_keys_are_p256_and_survive_both_encodings() -> None:
    key = keys.new_key()
    assert isinstance(key.curve, ec.SECP256R1)
    assert keys.load_key(keys.key_pem(key)).public_key() == key.public_key()
    loaded = load_der_private_key(keys.key_der(key), None)
    assert loaded.public_key() == key.public_key()


def test_pem_is_pkcs8() -> None:
    assert keys.key_pem(keys.new_key()).startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_request_proves_possession() -> None:
    key = keys.new_key()
    assert prove(keys.csr_for(key)).key == key.public_key()


def test_serials_are_positive_fit_rfc_5280_and_differ() -> None:
    serials = {keys.new_serial() for _ in range(64)}
    assert len(serials) == 64
    assert all(0 < serial < 1 << 159 for serial in serials)


def test_other_keys_are_refused() -> None:
    other = ed25519.Ed25519PrivateKey.generate()
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="EC"):
        keys.load_key(pem)
