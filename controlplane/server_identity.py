"""The control plane's own certificate: made here, in memory, renewed at half of its life, for both ports."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ca import keys
from ca.keys import PrivateKey
from ca.rotation import Lifetime, renew_at
from ca.service import CertificateAuthority
from xds.serve import ServerIdentity


class OwnCertificate:
    """`identity()` for the xDS port's handshakes, `context` for the API's."""

    def __init__(
        self, authority: CertificateAuthority, dns_names: Sequence[str], addresses: Sequence[str]
    ) -> None:
        self._authority = authority
        self._names = (tuple(dns_names), tuple(addresses))
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.num_tickets = 0
        # a client may show an SVID instead of a token; svid_callers judges it
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self._issue()
        authority.watch(self._authorities_changed)

    def identity(self) -> ServerIdentity:
        return self._identity

    async def run(self) -> None:
        """Renews until cancelled; new connections get the new certificate, open ones keep theirs."""
        while True:
            wait = (self._renew_at - datetime.now(UTC)).total_seconds()
            await asyncio.sleep(max(1.0, min(wait, 60.0)))
            if datetime.now(UTC) >= self._renew_at:
                self._issue()

    def _authorities_changed(self) -> None:
        """The next handshake believes the bundle of now; another authority signs: so must it this."""
        if self._authority.active_root_hash != self._root_hash:
            self._issue()
        else:
            roots = self._authority.bundle.to_pem().encode()
            self._identity = replace(self._identity, roots=roots)
            self._trust()

    def _issue(self) -> None:
        key: PrivateKey = keys.new_key()
        svid = self._authority.issue_server(keys.csr_for(key), *self._names)
        roots = self._authority.bundle.to_pem().encode()
        self._identity = ServerIdentity(keys.key_pem(key), svid.chain_pem.encode(), roots)
        self._renew_at = renew_at(Lifetime(svid.not_before, svid.not_after), 0.5)
        self._root_hash = self._authority.active_root_hash
        _load(self.context, self._identity)
        self._trust()

    def _trust(self) -> None:
        """New roots are known at once; that old ones are gone is for who judges a client's certificate."""
        self.context.load_verify_locations(cadata=self._authority.bundle.to_pem())


def _load(context: ssl.SSLContext, identity: ServerIdentity) -> None:
    """Python's ssl reads keys from files only: an anonymous one in memory never reaches a disk."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, identity.chain + identity.key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
