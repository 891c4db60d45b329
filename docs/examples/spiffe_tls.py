"""TLS contexts that follow a workload's SVID: new connections always use the newest certificate and bundle.

Who may be at the other end is checked by the SPIFFE ID at the end of the handshake, before a byte of the
application is sent. Needs `pip install spiffe`; the agent's socket is in SPIFFE_ENDPOINT_SOCKET (Pylis sets it for
what it starts). For asyncio; of one trust domain.
"""

from __future__ import annotations

import os
import ssl

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import X509Source


class SpiffeTls:
    """`server` once for a listener; `client` for each new connection. `peers`: SPIFFE IDs that may be there."""

    def __init__(self, *peers: str) -> None:
        self._checked = _checked(frozenset(peers))
        self._source = X509Source(timeout_in_seconds=30)
        self._source.subscribe_for_updates(self._changed)
        self._changed()

    def server(self) -> ssl.SSLContext:
        """Each handshake takes the newest certificate, whatever it was when the listener was made."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        context.sni_callback = self._newest
        return context

    def client(self) -> ssl.SSLContext:
        return self._for_clients

    def _changed(self) -> None:
        self._for_servers = self._context(ssl.PROTOCOL_TLS_SERVER)
        self._for_clients = self._context(ssl.PROTOCOL_TLS_CLIENT)

    def _newest(self, connection: ssl.SSLObject, _name: str | None, _old: ssl.SSLContext) -> None:
        connection.context = self._for_servers

    def _context(self, protocol: int) -> ssl.SSLContext:
        svid = self._source.get_x509_context().default_svid
        bundle = self._source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        if bundle is None:
            raise RuntimeError(f"no bundle of {svid.spiffe_id.trust_domain}")
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the identity is the SPIFFE ID
        context.verify_mode = ssl.CERT_REQUIRED
        context.sslobject_class = self._checked
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0  # a resumed session would outlive a change of the bundle
        roots = b"".join(one.public_bytes(Encoding.PEM) for one in bundle.x509_authorities)
        context.load_verify_locations(cadata=roots.decode())
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in svid.cert_chain)
        key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file = os.memfd_create("svid", os.MFD_CLOEXEC)  # ssl reads keys from files only: one in memory
        try:
            os.write(file, chain + key)
            context.load_cert_chain(f"/proc/self/fd/{file}")
        finally:
            os.close(file)
        return context


def _checked(peers: frozenset[str]) -> type[ssl.SSLObject]:
    class Checked(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            names = (self.getpeercert() or {}).get("subjectAltName", ())
            found = [name for kind, name in names if kind == "URI"]
            if len(found) != 1 or found[0] not in peers:
                raise ssl.SSLCertVerificationError(f"{found} is none of those that may be there")

    return Checked
