"""The agent's stream to the control plane: told what it may hold, it makes keys and has certificates signed.

Requests are batched; a lost connection is made again with a growing, jittered pause, and what is held keeps serving.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
# grpclib comes without complete types

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog
from cryptography import x509
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from agent.holdings import Holdings
from agent.node_identity import NodeIdentity
from agent.socket_server import Raw
from ca import keys, node_protocol
from ca.errors import NodeProtocolError
from ca.keys import PrivateKey
from ca.node_protocol import Authorized, Entry, Hello, Refused, RenewAgent, Sign, Signed
from ca.rotation import Lifetime, renew_at
from ca.spiffe_id import server_id

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
REFUSED_PAUSE: Final = 10.0
log = structlog.get_logger()


class ForeignServerError(Exception):
    """The other end is not the control plane of this trust domain."""


class Link:
    """`renewed` is called with the agent's new identity whenever it gets one."""

    def __init__(
        self, node: NodeIdentity, holdings: Holdings, renewed: Callable[[NodeIdentity], None]
    ) -> None:
        self._node = node
        self._holdings = holdings
        self._renewed = renewed
        self._ids = 0
        self._asked: dict[int, tuple[Entry | None, PrivateKey]] = {}
        self._not_before: dict[str, datetime] = {}  # registration → when it may be asked for again
        self.is_connected = False
        self._replaced = False  # by a new certificate of its own: the stream is opened again

    async def run(self) -> None:
        """Keeps the stream up until cancelled."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._session()
                pause = FIRST_PAUSE
            except (
                OSError,
                GRPCError,
                StreamTerminatedError,
                ProtocolError,
                NodeProtocolError,
                ForeignServerError,
            ) as error:
                if self.is_connected:
                    pause = FIRST_PAUSE
                log.warning("link.lost", error=str(error))
            self.is_connected = False
            self._asked.clear()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _session(self) -> None:
        self._replaced = False
        host, _, port = self._node.xds.rpartition(":")
        config = Configuration(_keepalive_time=30, _keepalive_timeout=10)
        channel = Channel(
            host.strip("[]"), int(port), ssl=self._node.client_context(), codec=Raw(), config=config
        )
        try:
            protocol: Any = await channel.__connect__()
            _check_server(protocol, str(server_id(self._node.bundle.trust_domain)))
            method = channel.request(node_protocol.SYNC_METHOD, Cardinality.STREAM_STREAM, bytes, bytes)
            async with method as stream:
                await stream.send_message(node_protocol.encode([Hello("1")]))
                await self._converse(stream)
        finally:
            channel.close()

    async def _converse(self, stream: Any) -> None:
        incoming = asyncio.ensure_future(stream.recv_message())
        try:
            while True:
                await asyncio.wait({incoming}, timeout=self._seconds_to_wait())
                if incoming.done():
                    body = incoming.result()
                    if body is None:
                        return
                    self._take(body)
                    incoming = asyncio.ensure_future(stream.recv_message())
                if messages := self._due():
                    await stream.send_message(node_protocol.encode(messages))
                if self._replaced:
                    return
        finally:
            incoming.cancel()

    def _take(self, body: bytes) -> None:
        for message in node_protocol.decode_from_server(body):
            match message:
                case Authorized():
                    self.is_connected = True
                    self._holdings.authorize(message)
                case Signed(id_, chain) if id_ in self._asked:
                    self._signed(*self._asked.pop(id_), chain)
                case Refused(id_, reason) if id_ in self._asked:
                    entry, _ = self._asked.pop(id_)
                    name = entry.name if entry else "agent"
                    log.warning("svid.refused", registration=name, reason=reason)
                    self._not_before[name] = _now_plus(REFUSED_PAUSE)
                case Signed() | Refused():
                    raise NodeProtocolError("an answer to nothing")

    def _signed(self, entry: Entry | None, key: PrivateKey, chain: tuple[bytes, ...]) -> None:
        leaf = x509.load_der_x509_certificate(chain[0])
        if leaf.public_key() != key.public_key():
            raise NodeProtocolError("a certificate for another key")
        if entry is None:
            self._node = self._node.renewed(chain, key)
            self._renewed(self._node)
            self._replaced = True
            return
        life = Lifetime(leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        self._holdings.store(entry, key, chain, life, random.random())  # noqa: S311 - jitter, no secret
        log.info("svid.held", id=entry.spiffe_id, not_after=life.not_after.isoformat())

    def _due(self) -> list[Any]:
        """Everything to be signed now, in one frame."""
        now = datetime.now(UTC)
        open_names = {entry.name if entry else "" for entry, _ in self._asked.values()}
        messages: list[Any] = []
        for entry in self._holdings.to_sign(now):
            if entry.name not in open_names and now >= self._not_before.get(entry.name, now):
                id_, key = self._ask(entry)
                messages.append(Sign(id_, entry.name, keys.csr_for(key)))
        if (
            now >= self._renew_node_at()
            and "" not in open_names
            and now >= self._not_before.get("agent", now)
        ):
            id_, key = self._ask(None)
            messages.append(RenewAgent(id_, keys.csr_for(key)))
        return messages

    def _ask(self, entry: Entry | None) -> tuple[int, PrivateKey]:
        self._ids += 1
        key = keys.new_key()
        self._asked[self._ids] = (entry, key)
        return self._ids, key

    def _renew_node_at(self) -> datetime:
        return renew_at(self._node.lifetime, 0.5)

    def _seconds_to_wait(self) -> float:
        times = [
            self._renew_node_at(),
            *([t] if (t := self._holdings.next_renewal()) else []),
            *self._not_before.values(),
        ]
        wait = (min(t for t in times) - datetime.now(UTC)).total_seconds()
        return min(max(wait, 0.05), 60.0)


def _now_plus(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _check_server(protocol: Any, identity: str) -> None:
    transport = protocol.connection._transport
    names = transport.get_extra_info("ssl_object").getpeercert().get("subjectAltName", ())
    if ("URI", identity) not in names:
        raise ForeignServerError(f"the server's certificate is not that of {identity}")
