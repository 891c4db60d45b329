"""An issuing CA of somebody else's, from PEM files."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ca import keys
from ca.errors import AuthorityError
from ca.keystore import MemoryKeystore
from ca.rotation import Family, Status
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId
from ca.upstream import PemUpstream
from ca.verify import svid_problems

ID = SpiffeId.parse("spiffe://example.org/ns/shop/sa/orders")


def pem(*made: Any) -> bytes:
    return b"".join(one.certificate.public_bytes(Encoding.PEM) for one in made)


def upstream(pki: Any, chain: bytes, key: Any, roots: bytes = b"") -> PemUpstream:
    return PemUpstream.read(pki.trust_domain, chain, keys.key_pem(key), roots, lambda: pki.now)


def corporate(pki: Any, path_length: int | None = 1) -> tuple[Any, Any]:
    """A root, and an intermediate below it that may sign issuing authorities."""
    root = pki.root()
    return root, pki.issuing(root, pki.authority_extensions(path_length))


@pytest.mark.spiffe("ID-18", "ID-19", "ID-20", "X-05", "X-07")
def test_leaves_chain_to_the_corporate_root(pki: Any) -> None:
    root, middle = corporate(pki)
    above = upstream(pki, pem(middle), middle.key, pem(root))
    authority = CertificateAuthority.open(
        pki.trust_domain, MemoryKeystore(), clock=lambda: pki.now, upstream=above
    )
    svid = authority.issue_id(ID, keys.csr_for(keys.new_key()), timedelta(minutes=30), ())
    chain = [x509.load_der_x509_certificate(der) for der in svid.chain]
    assert authority.bundle.x509_authorities == (root.der,)
    assert [len(chain), chain[2]] == [3, middle.certificate]
    assert svid_problems(chain, authority.bundle, pki.now) == []


async def test_rotation_below_an_upstream_changes_no_bundle_and_taints_nothing(pki: Any) -> None:
    root, middle = corporate(pki)
    above = upstream(pki, pem(middle, root), middle.key)
    authority = CertificateAuthority.open(
        pki.trust_domain, MemoryKeystore(), clock=lambda: pki.now, upstream=above
    )
    authority.unacknowledged = lambda sequence: ["web-1"] if sequence > 2 else []
    before = authority.bundle
    new = await authority.prepare(Family.X509)
    authority.activate(new.id)
    assert authority.bundle == before
    (old,) = authority.authorities.of(Family.X509, Status.OLD)
    with pytest.raises(AuthorityError, match="upstream"):
        authority.taint(old.id)
    await authority.prepare(Family.JWT)
    assert authority.bundle.sequence == before.sequence + 1


def test_a_ca_that_cannot_sign_authorities_is_refused(pki: Any) -> None:
    root, middle = corporate(pki)
    _, leaves_only = corporate(pki, path_length=0)
    stranger = pki.root()
    late = pki.make(
        "late", root, pki.authority_extensions(1), start=timedelta(hours=1), end=timedelta(hours=2)
    )
    leaf = pki.leaf(middle)
    for chain, key, roots, reason in (
        (pem(leaves_only), leaves_only.key, pem(root), "leaves only"),
        (pem(middle), root.key, pem(root), "key is not that"),
        (pem(middle), middle.key, pem(stranger), "no authority of the bundle"),
        (pem(late), late.key, pem(root), "not valid before"),
        (pem(leaf), leaf.key, pem(root), "no signing certificate"),
        (b"nonsense", middle.key, pem(root), "cannot be read"),
    ):
        with pytest.raises(AuthorityError, match=reason):
            upstream(pki, chain, key, roots)
