"""Who takes too much, guesses, or does not finish a request: over real TLS, and what it means for everybody else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from ca.keystore import FileKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain
from controlplane.api.app import Api, ApiDependencies
from controlplane.api.authorization import Authorization
from controlplane.api.callers import Authentication
from controlplane.api.limits import Limits
from controlplane.api.tokens import Tokens
from controlplane.api.writes import Writes
from controlplane.builtin_roles import ADMINS
from controlplane.first_start import put_objects
from controlplane.server_identity import OwnCertificate
from controlplane.store.memory import MemoryStore

NAMESPACES = "/api/v1/namespaces"


@dataclass(slots=True)
class Served:
    api: Api
    port: int
    store: MemoryStore
    tokens: Tokens
    context: ssl.SSLContext
    session: aiohttp.ClientSession
    held: list[asyncio.StreamWriter] = field(default_factory=list[asyncio.StreamWriter])

    async def status(self, token: str, path: str = NAMESPACES) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        async with self.session.get(f"https://127.0.0.1:{self.port}{path}", headers=headers) as answer:
            if answer.status == 429:
                assert answer.headers["Retry-After"] == "1"
            return answer.status

    async def connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)
        self.held.append(writer)
        return reader, writer


@pytest.fixture
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    limits: Limits = request.param
    authority = CertificateAuthority.open(TrustDomain.parse("example.org"), FileKeystore(tmp_path))
    store = MemoryStore()
    await put_objects(store, "istio-system")
    tokens, authorization = Tokens(store), Authorization(store, "istio-system")

    async def ready() -> None:
        return None

    deps = ApiDependencies(
        store, Authentication([tokens], None), authorization, Writes(store, authorization), {}, {}, "test", ready,
        limits=limits,
    )  # fmt: skip
    api, own = Api(deps), OwnCertificate(authority, ["localhost"], ["127.0.0.1"])
    context = ssl.create_default_context(cadata=authority.bundle.to_pem())
    async with api.listen("127.0.0.1", 0, own.context) as port:
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            one = Served(api, port, store, tokens, context, session)
            yield one
            for writer in one.held:
                writer.transport.abort()


@pytest.mark.parametrize("served", [Limits(refused=0, refused_burst=3)], indirect=True)
async def test_guesses_from_an_address_end_and_lock_out_nobody_else_there(served: Served) -> None:
    ann, _ = await served.tokens.create("ann", [ADMINS], None)
    assert [await served.status(f"guess-{n}") for n in range(5)] == [401, 401, 401, 429, 429]
    assert await served.status(ann) == 200, "a good credential from the same address"
    assert await served.status("", "/healthz") == 200
    refused = [r for r in await served.store.audit_records() if r.entry.reason == "Unauthorized"]
    assert len(refused) == 3, "the log does not grow by what is no longer answered"


@pytest.mark.parametrize("served", [Limits(rate=0, burst=4)], indirect=True)
async def test_a_caller_over_their_rate_waits_and_others_do_not(served: Served) -> None:
    ann, _ = await served.tokens.create("ann", [ADMINS], None)
    bob, _ = await served.tokens.create("bob", [ADMINS], None)
    again, _ = await served.tokens.create("ann", [ADMINS], None)
    assert [await served.status(ann) for _ in range(5)] == [200, 200, 200, 200, 429]
    assert await served.status(again) == 429, "a second token is the same caller"
    assert await served.status(bob) == 200


@pytest.mark.parametrize("served", [Limits(running=4)], indirect=True)
async def test_who_has_as_many_requests_at_once_as_it_may_is_the_only_one_refused(served: Served) -> None:
    ann, _ = await served.tokens.create("ann", [ADMINS], None)
    bob, _ = await served.tokens.create("bob", [ADMINS], None)
    for _ in range(2):
        _, writer = await served.connection()
        head = f"POST {NAMESPACES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann}\r\nContent-Length: 100\r\n\r\n{{"
        writer.write(head.encode())
    async with asyncio.timeout(15):
        while await served.status(ann) != 429:  # until both have arrived
            pass
    assert await served.status(bob) == 200
    assert await served.status(ann) == 429


@pytest.mark.parametrize("served", [Limits(head_seconds=0.3, connections=40)], indirect=True)
async def test_a_head_that_never_ends_is_cut_off_while_others_are_served(served: Served) -> None:
    """Slow loris: a byte now and then keeps no connection; and too many connections keep nobody's."""
    ann, _ = await served.tokens.create("ann", [ADMINS], None)
    readers: list[asyncio.StreamReader] = []
    for _ in range(20):
        reader, writer = await served.connection()
        writer.write(b"GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        readers.append(reader)

    async def drip() -> None:
        while True:
            for writer in served.held:
                if not writer.transport.is_closing():
                    writer.write(b"a")
            await asyncio.sleep(0.05)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        dripping = tasks.create_task(drip())
        assert await served.status(ann) == 200
        for reader in readers:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
        dripping.cancel()
    assert await served.status(ann) == 200


@pytest.mark.parametrize("served", [Limits(connections=5)], indirect=True)
async def test_there_are_never_more_connections_than_allowed(served: Served) -> None:
    ann, _ = await served.tokens.create("ann", [ADMINS], None)
    assert await served.status(ann) == 200, "its connection stays open"
    for _ in range(4):
        await served.connection()
    async with asyncio.timeout(30):
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            reader, _ = await served.connection()
            await reader.readexactly(1)
    assert await served.status(ann) == 200


@pytest.mark.parametrize("served", [Limits(body_seconds=0.3)], indirect=True)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_body_that_does_not_arrive_is_waited_for_no_longer(served: Served, method: str) -> None:
    ann, _ = await served.tokens.create("ann", [ADMINS], None)
    reader, writer = await served.connection()
    head = f"{method} {NAMESPACES} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann}\r\nContent-Length: 100\r\n\r\n{{"
    writer.write(head.encode())
    async with asyncio.timeout(30):
        assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    assert await served.status(ann) == 200
