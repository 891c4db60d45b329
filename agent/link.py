"""The agent's stream to the control plane: told what it may hold, it makes keys and has certificates signed.

Requests are batched; a lost connection is made again with a growing, jittered pause, and what is held keeps
serving. What a server sends that is not what was asked for ends the stream, never the agent. A certificate that
is past half of its life when it arrives (clocks differ, an old one was sent) is used, and renewed after a
growing pause: never in a hot loop.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from cryptography import x509
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import H2Error

from agent import clock, server_check
from agent.holdings import AT_ONCE, Holdings
from agent.node_identity import NodeIdentity
from agent.server_check import ForeignServerError
from agent.socket_server import Raw
from ca import keys, node_codec, node_protocol
from ca.errors import NodeProtocolError
from ca.issue import signers
from ca.keys import PrivateKey
from ca.node_protocol import (
    Acknowledge,
    Authorized,
    Entry,
    FromAgent,
    Hello,
    Ping,
    Pong,
    Readiness,
    Refused,
    RenewAgent,
    Report,
    Reported,
    Sign,
    Signed,
    SignedJwt,
    SignJwt,
)
from ca.node_report import FoundWorkload, NotTaken
from ca.rotation import Lifetime, renew_at
from ca.spiffe_id import server_id

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
REFUSED_PAUSE: Final = 10.0
EARLY_PAUSE: Final = 1.0  # before what arrived already due is asked for again; doubles each time
LONGEST_EARLY_PAUSE: Final = 300.0
CONNECT_SECONDS: Final = 15.0
STEADY_SECONDS: Final = 5.0  # a stream that held so long is opened again without a long pause
TOKEN_SECONDS: Final = 5.0
LOOK_AGAIN_SECONDS: Final = 60.0  # clocks may jump
MAX_BATCH: Final = 200
_AGENT: Final = ""  # the agent's own certificate, among the names of registrations
log = structlog.get_logger()


class TokenRefusedError(Exception):
    """The control plane does not sign this token; the text says why."""


class TokenUnavailableError(Exception):
    """It cannot be signed now; later it may."""


_LOST = (
    OSError,
    GRPCError,
    StreamTerminatedError,
    ProtocolError,
    H2Error,
    NodeProtocolError,
    ForeignServerError,
)


class Link:
    """`renewed` is called with each new identity of the agent, `changed` with `is_connected` or `error`.

    `attest_again` is asked when the control plane wants fresh evidence: a new identity, or None when a person has
    to make a join token.
    """

    def __init__(
        self,
        node: NodeIdentity,
        holdings: Holdings,
        renewed: Callable[[NodeIdentity], None],
        changed: Callable[[], None],
        attest_again: Callable[[], Awaitable[NodeIdentity | None]] | None = None,
    ) -> None:
        self._node = node
        self._holdings = holdings
        self._renewed = renewed
        self._changed = changed
        self._attest_again = attest_again
        self._ids = 0
        self._instance = secrets.token_hex(16)  # in memory only: a copy of the data directory lacks it
        self._pongs: list[FromAgent] = []
        self._asked: dict[int, tuple[Entry | None, PrivateKey]] = {}
        self._tokens: dict[int, tuple[SignJwt, asyncio.Future[SignedJwt]]] = {}
        self._unsent: list[FromAgent] = []
        self._not_before: dict[str, datetime] = {}  # refused or early → when it may be asked for again
        self._early: dict[str, float] = {}  # arrived already due → seconds until the next attempt
        self.is_connected = False
        self.error: str | None = None
        self.clock_behind = 0.0  # seconds; negative: ahead of the control plane's
        self._acknowledged = 0
        self._replaced = False  # by a new certificate of its own: the stream is opened again
        self._report: tuple[FoundWorkload, ...] | None = None  # None: there is nothing this agent reports
        self._told: tuple[FoundWorkload, ...] | None = None  # on this stream
        self._readiness: Readiness | None = None
        self._readiness_told: Readiness | None = None  # on this stream
        self.not_taken: tuple[NotTaken, ...] = ()

    def readiness(self, workloads: tuple[tuple[str, str], ...]) -> None:
        """Which of the watched workloads are ready now; told again on every new stream."""
        self._readiness = Readiness(workloads)
        self._holdings.settled.set()  # wakes the stream

    def report(self, workloads: tuple[FoundWorkload, ...]) -> None:
        """What containers there are now; told again on every new stream."""
        self._report = workloads
        self._holdings.settled.set()  # wakes the stream

    async def jwt(self, registration: str, audience: tuple[str, ...]) -> SignedJwt:
        """A JWT-SVID, signed now. Raises: TokenRefusedError; TokenUnavailableError while there is no stream."""
        if not self.is_connected:
            raise TokenUnavailableError("the control plane cannot be reached")
        self._ids += 1
        id_, answer = self._ids, asyncio.get_running_loop().create_future()
        request = SignJwt(id_, registration, audience)
        self._tokens[id_] = request, answer
        self._unsent.append(request)
        self._holdings.settled.set()  # wakes the stream
        try:
            async with asyncio.timeout(TOKEN_SECONDS):
                return await answer
        except TimeoutError as error:
            raise TokenUnavailableError("the control plane did not answer in time") from error
        finally:
            self._tokens.pop(id_, None)

    async def run(self) -> None:
        """Keeps the stream up until cancelled."""
        pause, seconds = FIRST_PAUSE, asyncio.get_running_loop().time
        while True:
            began = seconds()
            try:
                await self._session()
            except _LOST as error:
                log.warning("link.lost", error=str(error))
                self._say(connected=False, error=await self._turned_away(error) or self._advice(error))
            else:
                self._say(connected=False, error=None)
            self._forget_asked()
            if seconds() - began > STEADY_SECONDS:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, LONGEST_PAUSE)

    def _forget_asked(self) -> None:
        """The stream is gone, and what was asked for on it."""
        self._asked.clear()
        self._unsent.clear()
        for _, answer in self._tokens.values():
            if not answer.done():
                answer.set_exception(TokenUnavailableError("the control plane cannot be reached"))

    async def _turned_away(self, error: BaseException) -> str:
        """What follows from a refusal of this agent itself; "" for any other loss."""
        reason = (error.message or "") if isinstance(error, GRPCError) else ""
        if reason.startswith(node_protocol.BANNED):
            self._holdings.surrender()
            return f"this agent is {reason}: pylis agent evict lifts it"
        if not reason.startswith(node_protocol.MUST_ATTEST) and not self._node.is_expired:
            return ""
        node = await self._attest_again() if self._attest_again else None
        if node is None:
            return (
                f"{reason or 'its identity has expired'}: start it with a new join token (pylis token create)"
            )
        self._node = node
        self._renewed(node)
        return "joined again"

    def _say(self, *, connected: bool, error: str | None) -> None:
        if (self.is_connected, self.error) != (connected, error):
            self.is_connected, self.error = connected, error
            self._changed()

    def _advice(self, error: BaseException) -> str:
        if self._node.is_expired:
            return "this agent's identity has expired: start it again with a join token (pylis token create)"
        return f"no connection to the control plane at {self._node.xds}: {error or type(error).__name__}"

    async def _session(self) -> None:
        self._replaced = False
        self._acknowledged = 0
        self._told = None
        self._readiness_told = None
        host, _, port = self._node.xds.rpartition(":")
        config = Configuration(_keepalive_time=30, _keepalive_timeout=10)
        tls = self._node.client_context()
        channel = Channel(host.strip("[]"), int(port), ssl=tls, codec=Raw(), config=config)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                protocol: Any = await channel.__connect__()
            _check_server(protocol, str(server_id(self._node.bundle.trust_domain)))
            untyped: Any = None  # messages stay bytes
            request: Any = channel.request(
                node_protocol.SYNC_METHOD, Cardinality.STREAM_STREAM, untyped, untyped
            )
            async with request as stream:
                await stream.send_message(node_codec.encode([Hello("1", self._instance)]))
                await self._converse(stream)
        finally:
            channel.close()

    async def _converse(self, stream: Any) -> None:
        incoming = asyncio.ensure_future(stream.recv_message())
        settled = asyncio.ensure_future(self._holdings.settled.wait())
        try:
            while True:
                await asyncio.wait(
                    {incoming, settled}, timeout=self._seconds_to_wait(), return_when=asyncio.FIRST_COMPLETED
                )
                if settled.done():
                    self._holdings.settled.clear()
                    settled = asyncio.ensure_future(self._holdings.settled.wait())
                if incoming.done():
                    body = incoming.result()
                    if body is None:
                        return
                    self._take(body)
                    if self._pongs:
                        pongs, self._pongs = self._pongs, []
                        await stream.send_message(node_codec.encode(pongs))
                    incoming = asyncio.ensure_future(stream.recv_message())
                while messages := self._due():
                    await stream.send_message(node_codec.encode(messages))
                if self._replaced:
                    return
        finally:
            settled.cancel()
            incoming.cancel()
            await asyncio.wait({incoming})
            if not incoming.cancelled():
                incoming.exception()  # looked at: what ended the stream was told already

    def _take(self, body: bytes) -> None:
        for message in node_codec.decode_from_server(body):
            match message:
                case Authorized():
                    self._authorized(message)
                case Signed(id_, chain) if id_ in self._asked:
                    self._signed(*self._asked.pop(id_), chain)
                case SignedJwt(id_) if id_ in self._tokens:
                    _settle(self._tokens[id_][1], message)
                case Refused(id_, reason) if id_ in self._tokens:
                    _settle(self._tokens[id_][1], TokenRefusedError(reason))
                case Refused(id_, reason) if id_ in self._asked:
                    entry, _ = self._asked.pop(id_)
                    name = entry.name if entry else _AGENT
                    log.warning("svid.refused", registration=name or "agent", reason=reason)
                    self._not_before[name] = datetime.now(UTC) + timedelta(seconds=REFUSED_PAUSE)
                case Reported(not_taken):
                    if not_taken != self.not_taken:
                        for one in not_taken:
                            log.warning("workload.not_taken", workload=one.workload, reason=one.reason)
                    self.not_taken = not_taken
                    self._changed()
                case Ping(id_):
                    self._pongs.append(Pong(id_))
                case SignedJwt(id_) | Refused(id_) if 0 < id_ <= self._ids:
                    pass  # a token that nobody waits for any more
                case Signed() | SignedJwt() | Refused():
                    raise NodeProtocolError("an answer to nothing")

    def _authorized(self, message: Authorized) -> None:
        if message.bundle.trust_domain != self._node.bundle.trust_domain:
            raise NodeProtocolError("a bundle of another trust domain")
        if not message.bundle.x509_authorities:  # clients of the Workload API end for good at an empty bundle
            raise NodeProtocolError("a bundle without authorities")
        if message.bundle != self._node.bundle:
            self._node = self._node.trusting(message.bundle)
            self._renewed(self._node)
        names = {_AGENT, *(entry.name for entry in message.entries)}
        self._not_before = {name: at for name, at in self._not_before.items() if name in names}
        self._early = {name: pause for name, pause in self._early.items() if name in names}
        self._holdings.authorize(message)
        self._say(connected=True, error=None)

    def _signed(self, entry: Entry | None, key: PrivateKey, chain: tuple[bytes, ...]) -> None:
        try:
            leaf, *_ = [x509.load_der_x509_certificate(der) for der in chain]
        except ValueError as error:
            raise NodeProtocolError("an answer without a certificate") from error
        if leaf.public_key() != key.public_key():
            raise NodeProtocolError("a certificate for another key")
        if entry is None:
            self._node = self._node.renewed(chain, key)
            self._renewed(self._node)
            self._replaced = True
            self._hold_back(_AGENT)
            return
        life = Lifetime(leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        self._compare_clocks(life)
        self._holdings.store(entry, key, chain, life, random.random())  # noqa: S311 - jitter, no secret
        self._hold_back(entry.name)
        log.info("svid.held", id=entry.spiffe_id, not_after=life.not_after.isoformat())

    def _compare_clocks(self, life: Lifetime) -> None:
        behind = clock.seconds_behind(life, datetime.now(UTC))
        if abs(behind - self.clock_behind) > clock.NOTICEABLE_SECONDS and behind:
            log.warning("clock.wrong", seconds_behind=round(behind), what=clock.advice(behind))
        self.clock_behind = behind

    def _hold_back(self, name: str) -> None:
        """What has just arrived and is due again already waits, longer each time."""
        now = datetime.now(UTC)
        if self._times().get(name, now + timedelta(1)) > now:
            self._early.pop(name, None)
            return
        pause = self._early.get(name, EARLY_PAUSE)
        self._early[name] = min(pause * 2, LONGEST_EARLY_PAUSE)
        self._not_before[name] = now + timedelta(seconds=pause)
        log.warning("svid.arrived_old", registration=name or "agent", again_in_seconds=pause)

    def _due(self) -> list[FromAgent]:
        """What is to be signed now, in one frame; what does not fit is due again at once."""
        now = datetime.now(UTC)
        entries = {entry.name: entry for entry in self._holdings.entries}
        names = [name for name, at in self._schedule().items() if at <= now]
        unsent, self._unsent = self._unsent[:MAX_BATCH], self._unsent[MAX_BATCH:]
        requests = [self._request(entries.get(name)) for name in names[:MAX_BATCH]]
        return [*self._news(), *unsent, *requests, *self._acknowledgement()]

    def _news(self) -> list[FromAgent]:
        news: list[FromAgent] = []
        if self._report is not None and self._report != self._told:
            self._told = self._report
            news.append(Report(self._report))
        if self._readiness is not None and self._readiness != self._readiness_told:
            self._readiness_told = self._readiness
            news.append(self._readiness)
        return news

    def _acknowledgement(self) -> list[FromAgent]:
        """Once all that is served believes the bundle; the server uses no authority that is not known here."""
        sequence = self._holdings.in_force
        if sequence <= self._acknowledged or self._touched:
            return []
        self._acknowledged = sequence
        return [Acknowledge(sequence)]

    @property
    def _touched(self) -> bool:
        """Did a tainted authority sign the agent's own certificate?"""
        return bool(signers(self._node.chain) & self._holdings.tainted)

    def _request(self, entry: Entry | None) -> FromAgent:
        id_, key = self._ask(entry)
        csr = keys.csr_for(key)
        return RenewAgent(id_, csr) if entry is None else Sign(id_, entry.name, csr)

    def _ask(self, entry: Entry | None) -> tuple[int, PrivateKey]:
        self._ids += 1
        key = keys.new_key()
        self._asked[self._ids] = (entry, key)
        return self._ids, key

    def _schedule(self) -> dict[str, datetime]:
        """When what is asked for next is due, by registration; what is asked for already is not in it."""
        asked = {entry.name if entry else _AGENT for entry, _ in self._asked.values()}
        return {n: max(at, self._not_before.get(n, at)) for n, at in self._times().items() if n not in asked}

    def _times(self) -> dict[str, datetime]:
        """When each is due by its own life."""
        own = AT_ONCE if self._touched else renew_at(self._node.lifetime, 0.5)
        return {_AGENT: own, **self._holdings.schedule()}

    def _seconds_to_wait(self) -> float:
        next_due = min(self._schedule().values(), default=None)
        if next_due is None:
            return LOOK_AGAIN_SECONDS
        wait = (max(next_due, datetime.now(UTC)) - datetime.now(UTC)).total_seconds()
        return min(max(wait, 0.0), LOOK_AGAIN_SECONDS)


def _settle(answer: asyncio.Future[SignedJwt], outcome: SignedJwt | TokenRefusedError) -> None:
    if answer.done():
        return
    if isinstance(outcome, SignedJwt):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)


def _check_server(protocol: Any, identity: str) -> None:
    transport = protocol.connection._transport
    certificate = transport.get_extra_info("ssl_object").getpeercert()
    server_check.check(certificate, identity, datetime.now(UTC))
