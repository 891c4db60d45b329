"""A peer is what its certificate proves."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ca import keys
from ca.keystore import MemoryKeystore
from ca.revocation import serial_text
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain, workload_id
from xds.peer import Peer

WEB = workload_id(TrustDomain("example.org"), "shop", "web")


def test_a_peer_is_its_identity_the_end_of_its_certificate_and_its_serial() -> None:
    authority = CertificateAuthority.open(WEB.trust_domain, MemoryKeystore())
    svid = authority.issue_id(WEB, keys.csr_for(keys.new_key()), timedelta(hours=1), ())
    peer = Peer.read(str(WEB), svid.chain_pem.encode())
    assert peer == Peer(WEB, svid.not_after, serial_text(svid.serial))


@pytest.mark.parametrize(("identity", "leaf"), [("https://example.org", b""), (str(WEB), b"no certificate")])
def test_what_is_no_identity_or_no_certificate_is_nobody(identity: str, leaf: bytes) -> None:
    assert Peer.read(identity, leaf) is None
