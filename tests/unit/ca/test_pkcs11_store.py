"""A keystore in a PKCS#11 token, on SoftHSM. Without SoftHSM the omission is named in the run's last lines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from ca import jwt_svid, keys
from ca.authority_maker import CaSettings
from ca.errors import KeystoreError
from ca.keys import KeyType
from ca.pkcs11_store import Pkcs11Keystore, TokenUri
from ca.rotation import Family, Status
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain
from ca.verify import svid_problems
from tests.unit.softhsm import MODULE, without_softhsm

pytestmark = without_softhsm

TD = TrustDomain.parse("example.org")
ID = SpiffeId.parse("spiffe://example.org/ns/shop/sa/orders")


@pytest.fixture
def keystore(softhsm: str, tmp_path: Path) -> Iterator[Pkcs11Keystore]:
    one = Pkcs11Keystore(TokenUri.parse(softhsm), tmp_path / "ca")
    yield one
    one.close()


@pytest.mark.parametrize("kind", KeyType)
def test_an_authority_signs_by_keys_that_never_leave(
    keystore: Pkcs11Keystore, kind: KeyType, tmp_path: Path
) -> None:
    authority = CertificateAuthority.open(TD, keystore, settings=CaSettings(kind))
    svid = authority.issue_id(ID, keys.csr_for(keys.new_key()), timedelta(hours=1), ())
    chain = [x509.load_der_x509_certificate(der) for der in svid.chain]
    assert svid_problems(chain, authority.bundle, datetime.now(UTC)) == []
    token = authority.issue_jwt_id(ID, ["db"], timedelta(minutes=5)).token
    assert jwt_svid.svid_problems(token, authority.bundle, ["db"], datetime.now(UTC)) == []
    assert {path.name for path in (tmp_path / "ca").iterdir()} == {"authorities.json"}
    again = CertificateAuthority.open(TD, keystore, settings=CaSettings(kind))
    assert again.bundle == authority.bundle


async def test_rotation_removes_the_old_keys_from_the_token(keystore: Pkcs11Keystore) -> None:
    authority = CertificateAuthority.open(TD, keystore)
    (old,) = authority.authorities.of(Family.X509)
    name = authority._material[old.id].kept.key
    assert keystore.key(name) is not None
    new = await authority.prepare(Family.X509)
    authority.activate(new.id)
    authority.taint(old.id)
    authority.revoke(old.id)
    assert keystore.key(name) is None
    assert [a.id for a in authority.authorities.of(Family.X509, Status.ACTIVE)] == [new.id]


def test_a_key_does_not_leave_its_token(keystore: Pkcs11Keystore) -> None:
    key = keystore.create_key("root-1", KeyType.EC_P256)
    for ask in (lambda: keys.key_pem(key), lambda: keys.key_der(key), key.private_numbers):
        with pytest.raises(NotImplementedError, match="never leaves"):
            ask()


def test_a_wrong_pin_token_or_module_is_told(softhsm: str, tmp_path: Path) -> None:
    for wrong in (
        softhsm.replace("token=pylis", "token=other"),
        softhsm.replace(str(MODULE), "/nonexistent.so"),
        f"pkcs11:token=pylis?module-path={MODULE}&pin-value=9999",
    ):
        with pytest.raises(KeystoreError, match="cannot use") as told:
            Pkcs11Keystore(TokenUri.parse(wrong), tmp_path / "ca")
        assert "9999" not in str(told.value)


@pytest.mark.parametrize(
    "text",
    ["pkcs11:", "pkcs11:token=a", "pkcs11:token=a?module-path=/m", "pkcs11:token=a?module-path=/m&pin-source=file:/nope",
     "pkcs11:token=a?module-path=/m&pin-value=1&pin-source=file:/x", "pkcs11:token=a;slot-id=1?module-path=/m&pin-value=1"],
)  # fmt: skip
def test_a_uri_that_says_too_little_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(KeystoreError):
        TokenUri.parse(text)
