"""What the API does with federation beside the kind: its state, and fetching now."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ca.errors import SpiffeIdError
from ca.spiffe_id import TrustDomain
from controlplane.api.app import Operation
from controlplane.api.errors import ApiError, bad_request
from controlplane.api.tokens import Caller
from controlplane.federation.federator import Federator


@dataclass(frozen=True, slots=True)
class FederationOperations:
    federator: Federator

    def table(self) -> dict[tuple[str, str], Operation]:
        return {("GET", "federation"): self.status, ("POST", "federation/refresh"): self.refresh}

    async def status(self, _body: Any, _caller: Caller | None) -> Any:
        return {"items": self.federator.status()}

    async def refresh(self, body: Any, _caller: Caller | None) -> Any:
        """`{trustDomain}` → {}: its bundle is fetched without waiting for the next time."""
        fields = body if isinstance(body, dict) else {}
        try:
            domain = TrustDomain.parse(str(fields.get("trustDomain", "")))
        except SpiffeIdError as error:
            raise bad_request(f"trustDomain: {error}") from error
        if not self.federator.refresh(domain):
            text = f"no FederatedTrustDomain with an endpoint is of {domain}"
            raise ApiError(404, "NotFound", f"{text}; pylis federation list shows them")
        return {}
