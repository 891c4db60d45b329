"""The agent's own identity: its key and SVID, kept in its data directory (0600): a restart needs no token."""

from __future__ import annotations

import json
import os
import ssl
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from agent import server_check
from ca import bundle as bundles
from ca import keys
from ca.bundle import TrustBundle
from ca.errors import CaError
from ca.issue import chain_pem
from ca.keys import PrivateKey
from ca.keystore import write_private
from ca.rotation import Lifetime
from ca.spiffe_id import TrustDomain

_FILE: Final = "node.json"


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """`xds` is `host:port`; `chain` DER, leaf first. `sidecars`: as in the join token."""

    agent: str
    xds: str
    bundle: TrustBundle
    key: PrivateKey = field(repr=False)
    chain: tuple[bytes, ...]
    sidecars: str = ""

    @property
    def lifetime(self) -> Lifetime:
        leaf = x509.load_der_x509_certificate(self.chain[0])
        return Lifetime(leaf.not_valid_before_utc, leaf.not_valid_after_utc)

    @property
    def is_expired(self) -> bool:
        return self.lifetime.not_after <= datetime.now(UTC)

    def renewed(self, chain: tuple[bytes, ...], key: PrivateKey) -> NodeIdentity:
        return replace(self, chain=chain, key=key)

    def trusting(self, bundle: TrustBundle) -> NodeIdentity:
        return replace(self, bundle=bundle)

    def client_context(self) -> ssl.SSLContext:
        """For connections to the control plane; whoever uses it calls `server_check.check` after the handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the identity is the SPIFFE ID, not a host name
        context.load_verify_locations(cadata=self.bundle.to_pem())
        server_check.leave_times_to_us(context)
        context.set_alpn_protocols(["h2"])
        descriptor = os.memfd_create("node", os.MFD_CLOEXEC)  # Python's ssl reads keys from files only
        try:
            os.write(descriptor, chain_pem(self.chain).encode() + keys.key_pem(self.key))
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
        return context


def save(identity: NodeIdentity, directory: Path) -> None:
    body = {
        "agent": identity.agent,
        "xds": identity.xds,
        "sidecars": identity.sidecars,
        "trustDomain": identity.bundle.trust_domain.name,
        "bundle": identity.bundle.to_spiffe(),
        "chain": chain_pem(identity.chain),
        "key": keys.key_pem(identity.key).decode(),
    }
    write_private(directory / _FILE, json.dumps(body).encode())


def load(directory: Path) -> NodeIdentity | None:
    """None when the agent never joined, or its file is damaged."""
    try:
        body: Any = json.loads((directory / _FILE).read_text())
        domain = TrustDomain.parse(body["trustDomain"])
        chain = x509.load_pem_x509_certificates(body["chain"].encode())  # ValueError when there is none
        return NodeIdentity(
            body["agent"],
            body["xds"],
            bundles.from_spiffe(domain, json.dumps(body["bundle"])),
            keys.load_key(body["key"].encode()),
            tuple(c.public_bytes(keys.serialization.Encoding.DER) for c in chain),
            body.get("sidecars", ""),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, CaError):
        return None
