"""New authorities, by key type and by who is above."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from ca import check, keys
from ca.authority_maker import AuthorityMaker, CaSettings
from ca.bundle import JwtKey
from ca.errors import AuthorityError
from ca.keys import KeyType
from ca.keystore import MemoryKeystore
from ca.rotation import Family, Status
from ca.sign import Signer
from ca.spiffe_id import TrustDomain
from ca.upstream import Above, Issued, sign_issuing

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TD = TrustDomain.parse("example.org")


def a_maker(kind: KeyType = KeyType.EC_P256) -> AuthorityMaker:
    settings = CaSettings(kind, root_ttl=timedelta(days=30), jwt_key_ttl=timedelta(days=2))
    return AuthorityMaker(TD, MemoryKeystore(), lambda: NOW, keys.new_serial, settings)


class Upstream:
    """Signs with a root of its own; `change` may spoil the request or the answer."""

    def __init__(self, change: Callable[[Signer, Issued], Issued] = lambda _, issued: issued) -> None:
        _, material = a_maker().own_root()
        assert material.root is not None
        self.root = material.root
        self._change = change

    def sign(self, csr_der: bytes, ttl: timedelta, known: tuple[bytes, ...]) -> Issued:
        issuing = sign_issuing(TD, csr_der, self.root, NOW, ttl)
        return self._change(self.root, Issued((issuing,), ()))

    def publish(self, jwt_keys: tuple[JwtKey, ...], known: tuple[bytes, ...]) -> Above | None:
        return None


@pytest.mark.parametrize("kind", list(KeyType))
def test_a_root_and_an_issuing_authority_under_it(kind: KeyType) -> None:
    authority, material = a_maker(kind).own_root()
    assert (authority.family, authority.status) == (Family.X509, Status.PREPARED)
    root = x509.load_der_x509_certificate(authority.roots[0])
    assert material.issuing is not None
    issuing = material.issuing.certificate
    issuing.verify_directly_issued_by(root)
    assert check.authority_problems(root) == check.authority_problems(issuing) == []
    assert root.not_valid_after_utc == NOW + timedelta(days=30)
    assert NOW - timedelta(minutes=15) == root.not_valid_before_utc == issuing.not_valid_before_utc


def test_a_key_for_tokens() -> None:
    authority, material = a_maker().jwt()
    assert (authority.family, authority.status) == (Family.JWT, Status.PREPARED)
    assert authority.lifetime.not_after == NOW + timedelta(days=2)
    assert material.jwt is not None
    assert authority.id not in ("", a_maker().jwt()[0].id)


def test_below_somebody_else() -> None:
    upstream = Upstream()
    _, material = a_maker().below(upstream, ())
    assert material.root is None
    assert material.issuing is not None
    material.issuing.certificate.verify_directly_issued_by(upstream.root.certificate)


def test_what_is_no_use_is_refused() -> None:
    stranger = keys.csr_for(keys.new_key())
    other_key = Upstream(lambda root, _: Issued((sign_issuing(TD, stranger, root, NOW, timedelta(1)),), ()))
    with pytest.raises(AuthorityError, match="another key"):
        a_maker().below(other_key, ())
