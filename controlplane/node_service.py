"""What agents ask for, on the xDS port: their registrations and the bundle, pushed; certificates, signed.

The agent's own SVID decides what it may hold, and has to be the one the registry knows. An agent has one stream:

    another stream says it is the same agent        what is done
    same instance (it connects again)               the new one takes over
    another instance, the old one does not answer   the new one takes over (a restart, a lost connection)
    another instance, and the old one answers       two machines hold one key: both end, the agent has to attest
                                                    again with fresh evidence, and the audit log says so
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import structlog

from ca import node_codec
from ca.bundle import TrustBundle
from ca.errors import NodeProtocolError
from ca.node_protocol import (
    MUST_ATTEST,
    SYNC_METHOD,
    Acknowledge,
    Authorized,
    Entry,
    FromAgent,
    FromServer,
    Hello,
    Ping,
    Pong,
    Readiness,
    RenewAgent,
    Report,
    Reported,
    Sign,
    SignJwt,
)
from ca.node_report import FoundWorkload, NotTaken
from ca.registrations import ANY_AGENT, Registration
from ca.revocation import serial_text
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain, agent_name
from controlplane import audit
from controlplane.acknowledgements import Acknowledgements
from controlplane.agents import AgentRegistry
from controlplane.issuance import Ask, Issuance
from controlplane.state import MeshState
from controlplane.store.port import AuditLog
from xds.serve import Peer, methods, peer_of

HELLO_SECONDS: Final = 10.0
PROBE_SECONDS: Final = 2.0
MAX_UNANSWERED: Final = 20_000  # messages read and not answered yet; an agent that sends more is cut off
log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Session:
    """One stream. `answered`: something came in; `ending` is why it has to end, "" while it may go on.

    `allowed`: the registrations its agent may hold, by name; found again when they are `stale`.
    """

    agent: str
    peer: Peer
    instance: str = ""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    inbox: list[FromAgent] = field(default_factory=list[FromAgent])
    outbox: list[FromServer] = field(default_factory=list[FromServer])
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ending: str = ""
    stale: bool = True
    allowed: Mapping[str, Registration] = field(default_factory=dict[str, Registration])

    def look_again(self) -> None:
        """Its registrations, or the bundles, may be others now."""
        self.stale = True
        self.wake.set()

    def end(self, reason: str) -> None:
        self.ending = self.ending or reason
        self.wake.set()


class NodeService:
    def __init__(
        self,
        authority: CertificateAuthority,
        state: MeshState,
        agents: AgentRegistry,
        records: AuditLog,
        acknowledgements: Acknowledgements,
        reported: Callable[[str, tuple[FoundWorkload, ...]], Awaitable[tuple[NotTaken, ...]]],
        watched: Callable[[str, tuple[tuple[str, str], ...]], None],
        foreign: Callable[[], Mapping[TrustDomain, TrustBundle]] = dict,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        self._reported = reported
        self._watched = watched
        self._authority = authority
        self._foreign = foreign
        self._acknowledgements = acknowledgements
        self._state = state
        self._agents = agents
        self._records = records
        self._probe_seconds = probe_seconds
        self._issuance = Issuance(authority, lambda: asyncio.get_running_loop().time())
        self._sessions: dict[str, _Session] = {}
        self._pings = 0

    def handler(self) -> grpc.GenericRpcHandler:
        return methods({SYNC_METHOD: grpc.stream_stream_rpc_method_handler(self._sync)})

    @property
    def connected(self) -> frozenset[str]:
        """The agents that hold a stream here."""
        return frozenset(self._sessions)

    def changed(self, agents: Iterable[str] = (ANY_AGENT,)) -> None:
        """Registrations or the bundle may have changed: these agents are told, if it concerns them."""
        named = frozenset(agents)
        chosen = self._sessions.keys() if ANY_AGENT in named else named & self._sessions.keys()
        for agent in chosen:
            self._sessions[agent].look_again()

    def standing_changed(self, agent: str) -> None:
        """It was banned, evicted, or has another certificate: its stream ends if that is not taken any more."""
        if not self._agents.may_return(agent):
            self._acknowledgements.gone(agent)
        session = self._sessions.get(agent)
        if session is None:
            return
        session.look_again()
        if refusal := self._refusal(session):
            session.end(refusal)

    def _refusal(self, session: _Session) -> str:
        if self._state.revocations.covers(session.peer.identity, session.peer.serial):
            return f"{MUST_ATTEST}: quarantine: this certificate is cut off"
        return self._agents.refusal(session.agent, session.peer.serial)

    async def _sync(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        peer = peer_of(context)
        name = agent_name(peer.identity) if peer else None
        if name is None or peer is None or peer.identity.trust_domain != self._authority.trust_domain:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only agents may ask this")
            return
        session = _Session(name, peer)
        if self._refusal(session):
            await self._agents.look_again(name)  # it may have attested at another server
        if refusal := self._refusal(session):
            await self._refuse(context, session, refusal)
        reader = asyncio.ensure_future(_read(requests, session))
        reader.add_done_callback(lambda _: session.wake.set())
        try:
            if not await self._greeted(session, reader):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a stream begins with hello")
            if refusal := await self._admit(session):
                await self._refuse(context, session, refusal)
            log.info("agent.connected", agent=name)
            self._acknowledgements.holds(name, peer.expires)
            async for body in self._serve(session, reader):
                yield body
            if session.ending:
                await self._refuse(context, session, session.ending)
            if isinstance(reader.exception(), NodeProtocolError):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(reader.exception()))
        finally:
            reader.cancel()
            session.ended.set()
            if self._sessions.get(name) is session:
                del self._sessions[name]
                log.info("agent.disconnected", agent=name)

    async def _serve(self, session: _Session, reader: asyncio.Future[None]) -> AsyncIterator[bytes]:
        told: Authorized | None = None
        while not session.ending:
            if session.stale:
                authorized = self._authorized(session)
                if authorized != told:
                    told = authorized
                    yield node_codec.encode([authorized])
            answers, session.outbox[:] = list(session.outbox), ()
            asked, session.inbox[:] = list(session.inbox), ()
            answers += await self._answers(session, asked)
            if answers and not session.ending:
                yield node_codec.encode(answers)
            if reader.done():
                return
            await session.wake.wait()
            session.wake.clear()
            if refusal := self._refusal(session):
                session.end(refusal)

    async def _greeted(self, session: _Session, reader: asyncio.Future[None]) -> bool:
        """Waits for the hello: what an agent says before it is not listened to."""
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                while not session.inbox and not reader.done():
                    await session.wake.wait()
                    session.wake.clear()
        except TimeoutError:
            return False
        first = session.inbox.pop(0) if session.inbox else None
        if not isinstance(first, Hello):
            return False
        session.instance = first.instance
        return True

    async def _admit(self, session: _Session) -> str:
        """Makes it the agent's one stream; or says why it cannot be."""
        while (old := self._sessions.get(session.agent)) is not None:
            if old.instance != session.instance and await self._is_there(old):
                await self._copied(session, old)
                return f"{MUST_ATTEST}: its key is in use on two machines"
            if self._sessions.get(session.agent) is old:
                old.end("another stream of this agent took over")
                del self._sessions[session.agent]
        if refusal := self._refusal(session):
            return refusal
        self._sessions[session.agent] = session
        await self._agents.used(session.agent, session.peer.serial)
        return ""

    async def _is_there(self, old: _Session) -> bool:
        """Does the other end of this stream still answer?"""
        old.answered.clear()
        self._pings += 1
        old.outbox.append(Ping(self._pings))
        old.wake.set()
        waits = [asyncio.ensure_future(event.wait()) for event in (old.answered, old.ended)]
        try:
            await asyncio.wait(waits, timeout=self._probe_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return old.answered.is_set() and not old.ended.is_set()

    async def _copied(self, session: _Session, old: _Session) -> None:
        log.error("agent.copied", agent=session.agent, serials=[old.peer.serial, session.peer.serial])
        reason = "two machines hold its key: it has to attest again"
        entry = audit.Entry(
            "evict", "pylis", audit.Decision.REFUSE, resource="agents", name=session.agent, reason=reason,
            detail={"serials": [old.peer.serial, session.peer.serial]},
        )  # fmt: skip
        old.end(f"{MUST_ATTEST}: its key is in use on two machines")
        await self._agents.evict(session.agent, entry)

    async def _refuse(self, context: Any, session: _Session, reason: str) -> None:
        log.warning("agent.refused", agent=session.agent, serial=session.peer.serial, reason=reason)
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)

    def _authorized(self, session: _Session) -> Authorized:
        """What is in force now; the session keeps what its agent may hold."""
        session.stale = False
        allowed = self._state.registrations_of(session.agent, self._agents.selectors(session.agent))
        session.allowed = {r.name: r for r in allowed}
        entries = tuple(Entry.of(r) for r in allowed)
        cut_off = tuple(sorted(self._state.revocations.identities))
        federated = federated_with(allowed, self._foreign())
        return Authorized(entries, self._authority.bundle, self._authority.tainted, federated, cut_off)

    async def _answers(self, session: _Session, asked: list[FromAgent]) -> list[FromServer]:
        """Nothing is handed out before it is on record."""
        asks: list[Ask] = []
        told: list[FromServer] = []
        for message in asked:
            match message:
                case Report(workloads):
                    told = [Reported(await self._reported(session.agent, workloads))]
                case Readiness(watched):
                    self._watched(session.agent, watched)
                case Sign() | SignJwt() | RenewAgent():
                    asks.append(message)
                case Acknowledge(sequence):
                    self._acknowledgements.acknowledged(session.agent, sequence)
                case Hello() | Pong():
                    pass
        if not asks:
            return told
        found = self._issuance.answer(session.agent, session.allowed, asks)
        if found.renewed is not None:
            self._acknowledgements.holds(session.agent, found.renewed.not_after)
            await self._agents.renewed(session.agent, serial_text(found.renewed.serial))
        await self._records.record(*found.entries)
        return [*told, *found.messages]


def federated_with(
    registrations: Iterable[Registration], foreign: Mapping[TrustDomain, TrustBundle]
) -> tuple[TrustBundle, ...]:
    """The foreign bundles that these registrations name, and no others."""
    wanted = {domain for one in registrations for domain in one.federates_with}
    return tuple(foreign[domain] for domain in sorted(wanted & foreign.keys()))


async def _read(requests: AsyncIterator[bytes], session: _Session) -> None:
    async for body in requests:
        session.inbox += node_codec.decode_from_agent(body)
        session.answered.set()
        session.wake.set()
        if len(session.inbox) > MAX_UNANSWERED:
            raise NodeProtocolError(f"more than {MAX_UNANSWERED} messages without waiting for an answer")
