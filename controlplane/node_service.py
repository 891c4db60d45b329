"""What agents ask for, on the xDS port: their registrations and the bundle, pushed; certificates, signed.

The agent's own SVID decides what it may hold; a certificate is signed only for a registration it may hold now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import structlog

from ca import node_protocol as protocol
from ca.errors import CaError, NodeProtocolError
from ca.node_protocol import (
    Acknowledge,
    Authorized,
    Entry,
    FromAgent,
    FromServer,
    Hello,
    Refused,
    RenewAgent,
    Sign,
    Signed,
    SignedJwt,
    SignJwt,
)
from ca.service import CertificateAuthority
from ca.spiffe_id import agent_name
from controlplane.acknowledgements import Acknowledgements
from controlplane.state import MeshState
from xds.serve import methods, peer_of

log = structlog.get_logger()


class NodeService:
    def __init__(
        self, authority: CertificateAuthority, state: MeshState, acknowledgements: Acknowledgements
    ) -> None:
        self._authority = authority
        self._acknowledgements = acknowledgements
        self._state = state
        self._wakes: set[asyncio.Event] = set()

    def handler(self) -> grpc.GenericRpcHandler:
        return methods({protocol.SYNC_METHOD: grpc.stream_stream_rpc_method_handler(self._sync)})

    def changed(self) -> None:
        """Registrations may have changed: every agent is told, if it concerns it."""
        for wake in self._wakes:
            wake.set()

    async def _sync(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        peer = peer_of(context)
        name = agent_name(peer.identity) if peer else None
        if name is None or peer is None or peer.identity.trust_domain != self._authority.trust_domain:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only agents may ask this")
            return
        log.info("agent.connected", agent=name)
        self._acknowledgements.holds(name, peer.expires)
        wake, inbox = asyncio.Event(), list[FromAgent]()
        self._wakes.add(wake)
        reader = asyncio.ensure_future(_read(requests, inbox, wake))
        reader.add_done_callback(lambda _: wake.set())
        told: Authorized | None = None
        try:
            while True:
                authorized = self._authorized(name)
                if authorized != told:
                    told = authorized
                    yield protocol.encode([authorized])
                if inbox:
                    asked, inbox[:] = list(inbox), ()
                    if answers := self._answers(name, asked):
                        yield protocol.encode(answers)
                if reader.done():
                    break
                await wake.wait()
                wake.clear()
            if isinstance(reader.exception(), NodeProtocolError):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(reader.exception()))
        finally:
            reader.cancel()
            self._wakes.discard(wake)
            log.info("agent.disconnected", agent=name)

    def _authorized(self, agent: str) -> Authorized:
        entries = tuple(Entry.of(r) for r in self._state.registrations_of(agent))
        return Authorized(entries, self._authority.bundle, self._authority.tainted)

    def _answers(self, agent: str, asked: Sequence[FromAgent]) -> list[FromServer]:
        allowed = {r.name: r for r in self._state.registrations_of(agent)}
        answers: list[FromServer] = []
        for message in asked:
            try:
                match message:
                    case Hello():
                        pass
                    case Acknowledge(sequence):
                        self._acknowledgements.acknowledged(agent, sequence)
                    case Sign(id_, registration, csr) if registration in allowed:
                        svid = self._authority.issue(allowed[registration], csr)
                        log.info(
                            "svid.issued", agent=agent, id=str(svid.spiffe_id), serial=f"{svid.serial:x}"
                        )
                        answers.append(Signed(id_, svid.chain))
                    case SignJwt(id_, registration, audience) if registration in allowed:
                        token = self._authority.issue_jwt(allowed[registration], audience)
                        log.info("jwt_svid.issued", agent=agent, id=str(token.spiffe_id), audience=audience)
                        issued, expires = token.issued_at.timestamp(), token.expires.timestamp()
                        answers.append(SignedJwt(id_, token.token, int(issued), int(expires)))
                    case Sign(id_, registration, _) | SignJwt(id_, registration, _):
                        log.warning("svid.refused", agent=agent, registration=registration)
                        answers.append(Refused(id_, "not registered for this agent"))
                    case RenewAgent(id_, csr):
                        own = self._authority.issue_agent(agent, csr)
                        self._acknowledgements.holds(agent, own.not_after)
                        answers.append(Signed(id_, own.chain))
            except CaError as error:
                answers.append(Refused(getattr(message, "id", 0), str(error)))
        return answers


async def _read(requests: AsyncIterator[bytes], inbox: list[FromAgent], wake: asyncio.Event) -> None:
    async for body in requests:
        inbox += protocol.decode_from_agent(body)
        wake.set()
