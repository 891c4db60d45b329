"""Identity goals over the wire: I1 X.509-SVIDs and I2 JWT-SVIDs as agents have them signed, over mTLS on their streams.

Agents join as real ones do; their signing requests are made before the clock starts. The figure is the server's own
CPU (all its threads) per 1,000 SVIDs: TLS, gRPC, checks, signing, audit log and the sync to disk. It does not depend
on what else the machine does, wall time does. I2 over HTTPS is an administrator's `POST /pylis/v1/jwt-svids`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc

from bench.figures import line
from bench.server_process import server
from ca import keys, node_codec, node_protocol
from ca.attest.join_token import JoinToken
from ca.issue import chain_pem
from ca.node_protocol import Attest, FromAgent, Hello, Sign, Signed, SignedJwt, SignJwt, TokenEvidence
from controlplane.cli.client import Client

REGISTRATIONS: Final = "/apis/pylis.io/v1alpha1/namespaces/default/workloadregistrations"
AGENTS: Final = 10
BATCH: Final = 50  # registrations, and so many asked for in one frame
ROUNDS: Final = 10
_SPIRE_X509: Final = "SPIRE 0.47 by unary call; Python grpc.aio unary 0.58, bare HTTP/2 0.27"
_SPIRE_JWT: Final = "SPIRE 0.26 by unary call; Python grpc.aio unary 0.37"
_SERVER_NAME: Final = "server.pylis.internal"


@dataclass(slots=True)
class Stream:
    """One agent's stream, and the signing requests it has ready: one a registration."""

    call: Any
    requests: list[tuple[str, bytes]]
    number: int = 0

    async def ask(self, messages: Sequence[FromAgent], answer: type[Signed] | type[SignedJwt]) -> None:
        """In one frame; until all are answered."""
        await self.call.write(node_codec.encode(messages))
        missing = len(messages)
        while missing:
            for message in node_codec.decode_from_server(await self.call.read()):
                if type(message) is not answer:
                    raise RuntimeError(f"answered with {message}")
                missing -= 1

    def next_id(self) -> int:
        self.number += 1
        return self.number

    def x509(self) -> list[FromAgent]:
        return [Sign(self.next_id(), name, csr) for name, csr in self.requests]

    def jwt(self) -> list[FromAgent]:
        return [SignJwt(self.next_id(), name, ("ledger",)) for name, _ in self.requests]


def cpu_seconds(pid: int) -> float:
    """Of all threads that live, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextlib.asynccontextmanager
async def agents(client: Client) -> AsyncIterator[list[Stream]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [await _join(client, f"bench-{number}", stack) for number in range(AGENTS)]


async def _join(client: Client, name: str, stack: contextlib.AsyncExitStack) -> Stream:
    token = JoinToken.decode(client.request("POST", "/pylis/v1/tokens", {"agent": name})["token"])
    key = keys.new_key()
    attest = node_codec.encode_attest(Attest(TokenEvidence(token.secret), keys.csr_for(key)))
    async with (
        aiohttp.ClientSession(client.server) as session,
        session.post(
            "/pylis/v1/attest",
            data=attest,
            headers={"Content-Type": "application/json"},
            ssl=client.context,
            server_hostname=_SERVER_NAME,
        ) as answer,
    ):
        attested = node_codec.decode_attested(await answer.json())
    credentials = grpc.ssl_channel_credentials(
        attested.bundle.to_pem().encode(), keys.key_pem(key), chain_pem(attested.chain).encode()
    )
    options = [
        ("grpc.ssl_target_name_override", _SERVER_NAME),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
    ]
    channel = await stack.enter_async_context(grpc.aio.secure_channel(token.xds, credentials, options))
    call: Any = channel.stream_stream(node_protocol.SYNC_METHOD)()
    await call.write(node_codec.encode([Hello("1", name)]))
    (authorized,) = node_codec.decode_from_server(await call.read())
    if not isinstance(authorized, node_protocol.Authorized) or len(authorized.entries) != BATCH:
        raise RuntimeError(f"told {authorized}")
    return Stream(call, [(entry.name, keys.csr_for(keys.new_key())) for entry in authorized.entries])


async def _batched(
    streams: list[Stream], wanted: Callable[[Stream], list[FromAgent]], answer: type[Signed] | type[SignedJwt]
) -> None:
    await asyncio.gather(*(one.ask(wanted(one), answer) for one in streams))


async def _singly(
    streams: list[Stream], wanted: Callable[[Stream], list[FromAgent]], answer: type[Signed] | type[SignedJwt]
) -> None:
    async def all_of(one: Stream) -> None:
        for message in wanted(one):
            await one.ask([message], answer)

    await asyncio.gather(*(all_of(one) for one in streams))


async def _mint(client: Client, streams: list[Stream]) -> None:
    """As many over HTTPS, one a request, by as many connections."""
    queue = [
        {"spiffeId": f"spiffe://cluster.local/ns/default/sa/r{n}", "audience": ["ledger"]}
        for n in range(BATCH)
        for _ in streams
    ]
    headers = {"Authorization": f"Bearer {client.token}"}
    connector = aiohttp.TCPConnector(limit=len(streams), ssl=client.context)
    async with aiohttp.ClientSession(client.server, connector=connector, headers=headers) as session:

        async def work() -> None:
            while queue:
                body = queue.pop()
                async with session.post(
                    "/pylis/v1/jwt-svids", json=body, server_hostname=_SERVER_NAME
                ) as answer:
                    if answer.status != 200:
                        raise RuntimeError(await answer.text())

        await asyncio.gather(*(work() for _ in streams))


async def transport() -> None:
    async with server() as (client, pid):
        for number in range(BATCH):
            client.request("POST", REGISTRATIONS, _registration(f"r{number}"))
        async with agents(client) as streams:
            parts: list[tuple[str, str, float, str, Callable[[], Any]]] = [
                ("I1", "over mTLS from agents, in batches of 50", 0.30, _SPIRE_X509,
                 lambda: _batched(streams, Stream.x509, Signed)),
                ("I1", "over mTLS from agents, one by one", 0.47, _SPIRE_X509,
                 lambda: _singly(streams, Stream.x509, Signed)),
                ("I2", "over mTLS from agents, in batches of 50", 0.26, _SPIRE_JWT,
                 lambda: _batched(streams, Stream.jwt, SignedJwt)),
                ("I2", "over mTLS from agents, one by one", 0.26, _SPIRE_JWT,
                 lambda: _singly(streams, Stream.jwt, SignedJwt)),
                ("I2", "minted over HTTPS, one by one", 0.26, _SPIRE_JWT, lambda: _mint(client, streams)),
            ]  # fmt: skip
            for id_, part, target, peers, once in parts:
                rounds = ROUNDS if id_ == "I1" else ROUNDS // 2
                taken, walls = list[float](), list[float]()
                for _ in range(rounds):
                    before, began = cpu_seconds(pid), asyncio.get_running_loop().time()
                    await once()
                    walls.append(asyncio.get_running_loop().time() - began)
                    taken.append((cpu_seconds(pid) - before) / (AGENTS * BATCH) * 1000)
                per_second = round(AGENTS * BATCH / min(walls))
                line(id_, taken, "CPU s per 1,000", target, peers, part=part, best=round(min(taken), 3),
                     perSecond=per_second)  # fmt: skip


def _registration(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "pylis.io/v1alpha1",
        "kind": "WorkloadRegistration",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "serviceAccount": name,
            "selectors": ["unix:uid:4711"],
            "agents": [f"bench-{n}" for n in range(AGENTS)],
        },
    }


def main() -> None:
    asyncio.run(transport())


if __name__ == "__main__":
    main()
