"""What the API does about agents: attestation, and `pylis agent list|ban|evict`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from ca.node_protocol import BANNED
from controlplane.agents import AgentRecord, AgentRegistry
from controlplane.api.app import Operation
from controlplane.api.errors import ApiError, bad_request
from controlplane.api.tokens import Caller
from controlplane.audit import Entry
from controlplane.node_attestation import NodeAttestation
from controlplane.node_service import NodeService


@dataclass(frozen=True, slots=True)
class AgentOperations:
    agents: AgentRegistry
    nodes: NodeService
    attestation: NodeAttestation

    def table(self) -> dict[tuple[str, str], Operation]:
        return {
            ("POST", "attest"): self.attest,
            ("POST", "attest/challenge"): self.challenge,
            ("GET", "agents"): self.list,
            ("POST", "agents/ban"): self.ban,
            ("POST", "agents/evict"): self.evict,
        }

    async def attest(self, body: Any, caller: Caller | None) -> Any:
        """Open to anybody: the evidence decides."""
        return await self.attestation.attest(body, caller.source if caller else "")

    async def challenge(self, body: Any, caller: Caller | None) -> Any:
        """Open to anybody who holds a chain of a trusted authority."""
        return await self.attestation.challenge(body, caller.source if caller else "")

    async def list(self, _body: Any, _caller: Caller | None) -> Any:
        connected = self.nodes.connected
        return {"items": [_shown(record, record.name in connected) for record in self.agents.all()]}

    async def ban(self, body: Any, caller: Caller | None) -> Any:
        """`{agent, reason}`: its stream ends, nothing is signed for it, and it cannot attest again until evicted."""
        name, reason = _fields(body)
        reason = reason or "by an administrator"
        entry = Entry("ban", caller.name if caller else "", resource="agents", name=name, reason=reason)
        if not await self.agents.ban(name, reason, entry):
            raise _unknown(name)
        return {"agent": name, "state": BANNED, "reason": reason}

    async def evict(self, body: Any, caller: Caller | None) -> Any:
        """`{agent}`: its stream ends; it may attest again, with fresh evidence. Lifts a ban."""
        name, reason = _fields(body)
        entry = Entry("evict", caller.name if caller else "", resource="agents", name=name, reason=reason)
        if not await self.agents.evict(name, entry):
            raise _unknown(name)
        return {"agent": name, "state": "evicted"}


def _shown(record: AgentRecord, connected: bool) -> dict[str, Any]:
    state = BANNED if record.banned else "connected" if connected else "lost"
    return {
        "name": record.name, "method": record.method, "state": state, "attested": record.attested,
        "serial": record.serial, "selectors": list(record.selectors), "reason": record.banned,
        "source": record.source,
    }  # fmt: skip


def _unknown(name: str) -> ApiError:
    return ApiError(404, "NotFound", f'agent "{name}" not found; pylis agent list names them')


def _fields(body: Any) -> tuple[str, str]:
    fields = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    name, reason = fields.get("agent"), fields.get("reason", "")
    if not isinstance(name, str) or not name or not isinstance(reason, str) or len(reason) > 1024:
        raise bad_request("agent is required; reason is a text of at most 1024 characters")
    return name, reason
