"""Another Pylis as upstream authority (an edge: it blocks, and is called from a thread).

One trust domain, several control planes: the one above has the root, each below an issuing authority under it,
and all have one bundle.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import ssl
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlsplit

from cryptography import x509

from ca import bundle as bundles
from ca import check
from ca.bundle import MAX_BYTES, JwtKey, TrustBundle
from ca.errors import AuthorityError, BundleError
from ca.service import SERVER_DNS_NAME
from ca.spiffe_id import TrustDomain
from ca.upstream import Above, Issued

TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class NestedUpstream:
    """`server` is `https://host:port`; the token's caller may `create` `downstreams.pylis.io` there."""

    trust_domain: TrustDomain
    server: str
    token_file: Path
    ca_file: Path

    def sign(self, csr_der: bytes, ttl: timedelta, known: tuple[bytes, ...]) -> Issued:
        """Raises: AuthorityError."""
        body = {"csr": base64.b64encode(csr_der).decode("ascii"), "ttlSeconds": int(ttl.total_seconds())}
        answer = self._ask("/pylis/v1/downstreams", body, known)
        try:
            chain = x509.load_pem_x509_certificates(str(answer["chain"]).encode())
            roots = bundles.from_spiffe(self.trust_domain, json.dumps(answer["bundle"])).x509_authorities
        except (KeyError, BundleError, *check.UNREADABLE) as error:
            raise AuthorityError(f"{self.server} answers with no certificate") from error
        return Issued(tuple(chain), roots)

    def publish(self, jwt_keys: tuple[JwtKey, ...], known: tuple[bytes, ...]) -> Above:
        """Raises: AuthorityError."""
        own = TrustBundle(self.trust_domain, (), jwt_authorities=jwt_keys)
        answer = self._ask("/pylis/v1/downstreams/keys", {"jwks": own.to_jwks()}, known)
        try:
            found = bundles.from_spiffe(self.trust_domain, json.dumps(answer["bundle"]))
            return Above(found, tuple(map(str, answer["tainted"])))
        except (KeyError, TypeError, BundleError) as error:
            raise AuthorityError(f"{self.server} answers with no trust bundle") from error

    def _ask(self, path: str, body: dict[str, Any], known: tuple[bytes, ...]) -> dict[str, Any]:
        """The file vouches for who is above until its bundle is known. Raises: AuthorityError."""
        parts = urlsplit(self.server)
        try:
            roots = TrustBundle(self.trust_domain, known).to_pem() or self.ca_file.read_text()
            context = ssl.create_default_context(cadata=roots)
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            token = self.token_file.read_text().strip()
            with socket.create_connection(
                (parts.hostname or "", parts.port or 443), TIMEOUT_SECONDS
            ) as plain:
                connection = http.client.HTTPConnection(parts.netloc)
                connection.sock = context.wrap_socket(plain, server_hostname=SERVER_DNS_NAME)
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                connection.request("POST", path, json.dumps(body).encode(), headers)
                response = connection.getresponse()
                answer: Any = json.loads(response.read(MAX_BYTES))
                connection.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise AuthorityError(
                f"the upstream authority at {self.server} cannot be asked: {error}"
            ) from error
        fields = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        if response.status != 200:
            raise AuthorityError(f"the upstream authority at {self.server} refuses: {fields.get('message')}")
        return fields
