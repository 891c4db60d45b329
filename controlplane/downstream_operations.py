"""What a control plane nested below this one asks of it. RBAC: `create` of `downstreams.pylis.io`.

Its JWT keys are kept under the name of the caller, so each nested control plane has a token of its own.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ca import bundle as bundles
from ca.errors import BundleError, CaError
from ca.issue import chain_pem
from ca.profile import ISSUING_TTL
from ca.service import CertificateAuthority
from controlplane.access import Caller
from controlplane.api.app import Operation
from controlplane.api.errors import ApiError, bad_request
from controlplane.audit import Entry
from controlplane.store.port import AuditLog


@dataclass(frozen=True, slots=True)
class DownstreamOperations:
    records: AuditLog
    authority: CertificateAuthority

    def table(self) -> dict[tuple[str, str], Operation]:
        return {("POST", "downstreams"): self.sign, ("POST", "downstreams/keys"): self.publish}

    async def sign(self, body: Any, caller: Caller | None) -> Any:
        """`{csr, ttlSeconds}` → `{chain, bundle}` (PEM, SPIFFE document): an issuing authority under the active root."""
        fields = body if isinstance(body, dict) else {}
        csr, ttl = fields.get("csr"), fields.get("ttlSeconds", int(ISSUING_TTL.total_seconds()))
        if isinstance(ttl, bool) or not isinstance(ttl, int) or not 0 < ttl <= ISSUING_TTL.total_seconds():
            raise bad_request(f"ttlSeconds must be between 1 and {int(ISSUING_TTL.total_seconds())}")
        try:
            der = base64.b64decode(csr if isinstance(csr, str) else "", validate=True)
            issued = self.authority.issue_nested(der, timedelta(seconds=ttl))
        except (CaError, binascii.Error) as error:
            raise bad_request(f"csr: {error}") from error
        who = caller.name if caller else ""
        await self.records.record(Entry("issue", who, resource="downstreams", name=who))
        return {"chain": chain_pem([issued]), "bundle": self.authority.bundle.to_spiffe()}

    async def publish(self, body: Any, caller: Caller | None) -> Any:
        """`{jwks}` → `{bundle, tainted}`: its JWT keys in, the trust domain's bundle (SPIFFE document) out."""
        fields = body if isinstance(body, dict) else {}
        try:
            given = bundles.from_spiffe(self.authority.trust_domain, json.dumps(fields.get("jwks")))
        except BundleError as error:
            raise bad_request(f"jwks: {error}") from error
        name = caller.name if caller else ""
        try:
            if self.authority.nested_keys(name) != given.jwt_authorities:
                async with self.authority.turn():
                    self.authority.publish_nested(name, given.jwt_authorities)
        except CaError as error:
            raise ApiError(409, "Conflict", str(error)) from error
        return {"bundle": self.authority.bundle.to_spiffe(), "tainted": list(self.authority.tainted)}
