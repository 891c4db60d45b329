"""What an authority signs with is loaded, or it is said what is missing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ca import material
from ca.authority_maker import AuthorityMaker, CaSettings
from ca.errors import KeystoreError
from ca.journal import Kept
from ca.keys import KeyType
from ca.keystore import MemoryKeystore
from ca.spiffe_id import TrustDomain

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def maker() -> AuthorityMaker:
    serials = iter(range(1, 100))
    domain = TrustDomain.parse("example.org")
    return AuthorityMaker(domain, MemoryKeystore(), lambda: NOW, lambda: next(serials), CaSettings())


def test_what_was_made_is_loaded_as_it_was(maker: AuthorityMaker) -> None:
    authority, made = maker.own_root()
    loaded = material.load(maker.keystore, authority, made.kept)
    assert loaded.issuing is not None
    assert made.issuing is not None
    assert loaded.issuing.certificate == made.issuing.certificate
    assert loaded.root is not None
    life = material.lifetime_of(loaded.root)
    assert life == authority.lifetime
    token, kept = maker.jwt()
    assert material.load(maker.keystore, token, kept.kept).jwt is not None


def test_a_key_that_is_missing_or_another_is_named(maker: AuthorityMaker) -> None:
    authority, made = maker.own_root()
    maker.keystore.forget_key(made.kept.issuing_key)
    with pytest.raises(KeystoreError, match=f"{made.kept.issuing_key} is missing"):
        material.load(maker.keystore, authority, made.kept)
    maker.keystore.create_key(made.kept.issuing_key, KeyType.EC_P256)
    with pytest.raises(KeystoreError, match="does not belong to its certificate"):
        material.load(maker.keystore, authority, made.kept)
    token, kept = maker.jwt()
    maker.keystore.create_key(kept.kept.key, KeyType.EC_P256)
    with pytest.raises(KeystoreError, match="missing or another"):
        material.load(maker.keystore, token, kept.kept)


def test_a_damaged_certificate_is_told(maker: AuthorityMaker) -> None:
    authority, made = maker.own_root()
    kept = Kept(made.kept.key, made.kept.issuing_key, (b"no certificate",))
    with pytest.raises(KeystoreError, match="damaged"):
        material.load(maker.keystore, authority, kept)
