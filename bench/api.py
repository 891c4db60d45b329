"""A1 to A5: the API against a bare aiohttp handler and the store alone, in one run. JSON lines.

`python -m bench.api [--quick]`. The load client is `bench.api_load`, a process of its own; servers are real processes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import line
from controlplane.builtin_roles import ADMINS
from controlplane.load.fleet import Fleet
from controlplane.load.installation import Api
from controlplane.load.mesh import LoadMesh
from tests.contract.database import a_server, fresh_database
from tests.integration.running_server import RunningServer

CLIENTS = 8
MAPS = "/api/v1/namespaces/default/configmaps"
BARE = """
import asyncio, ssl, sys
from aiohttp import web
import uvloop
one, many = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read()
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.minimum_version = ssl.TLSVersion.TLSv1_3
context.load_cert_chain(sys.argv[3])
async def get(request): return web.Response(body=one, content_type="application/json")
async def post(request):
    await request.json()
    return web.Response(body=one, status=201, content_type="application/json")
async def list_(request): return web.Response(body=many, content_type="application/json")
async def main():
    app = web.Application()
    app.router.add_get("/one", get)
    app.router.add_get("/many", list_)
    app.router.add_post("/one", post)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
uvloop.run(main())
"""
STORE = """
import asyncio, sys, time
from pathlib import Path
import uvloop
from controlplane.store.port import Key
async def main():
    if sys.argv[1].startswith("postgresql"):
        from controlplane.store.postgres import PostgresStore
        store = await PostgresStore.open(sys.argv[1], b"k" * 32)
    else:
        from controlplane.store.sqlite import SqliteStore
        store = await SqliteStore.open(Path(sys.argv[1]), b"k" * 32)
    value = {"metadata": {"name": "x", "uid": "u" * 36}, "data": {"v": "y" * 200}}
    end, done = time.perf_counter() + float(sys.argv[2]), 0
    async def work(n):
        nonlocal done
        count = 0
        while time.perf_counter() < end:
            count += 1
            await store.create(Key("configmaps", "default", f"alone-{n}-{count}"), value)
            done += 1
    began = time.perf_counter()
    await asyncio.gather(*(work(n) for n in range(8)))
    print(done / (time.perf_counter() - began), flush=True)
    await store.close()
uvloop.run(main())
"""


def ratio(id_: str, ratios: Sequence[float], baseline: str) -> None:
    """More is better: at least half of the baseline."""
    line(id_, ratios, "x of the baseline", 0.5, baseline, ok=statistics.median(ratios) >= 0.5)


def tail(id_: str, taken: Sequence[float], target: float) -> None:
    p99 = sorted(taken)[int(len(taken) * 0.99)]
    line(id_, taken, "ms", target, "the goal is for p99", value=round(p99, 3), ok=p99 <= target)


class Load:
    """Eight clients on kept-alive TLS connections to one server, each by a token of its own: one alone is limited."""

    def __init__(self, base: str, tokens: Sequence[str], context: ssl.SSLContext) -> None:
        self.base = base
        self.use(tokens)
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        self.session = aiohttp.ClientSession(connector=connector)

    def use(self, tokens: Sequence[str]) -> None:
        self._tokens = itertools.cycle(tokens)

    async def open(self, method: str, path: str, body: Any = None) -> aiohttp.ClientResponse:
        headers = {"Authorization": f"Bearer {next(self._tokens)}"}
        return await self.session.request(method, self.base + path, json=body, headers=headers)

    async def ask(self, method: str, path: str, body: Any = None) -> bytes:
        async with await self.open(method, path, body) as response:
            data = await response.read()
            if response.status >= 300:
                raise RuntimeError(f"{method} {path}: {response.status} {data[:300]!r}")
            return data

    async def run(
        self, seconds: float, one: Callable[[int, int], Awaitable[object]]
    ) -> tuple[float, list[float]]:
        """Requests a second, and each one's milliseconds."""
        taken: list[float] = []
        end = time.perf_counter() + seconds

        async def work(client: int) -> None:
            count = 0
            while (began := time.perf_counter()) < end:
                count += 1
                await one(client, count)
                taken.append((time.perf_counter() - began) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(work(n) for n in range(CLIENTS)))
        return len(taken) / (time.perf_counter() - began), taken


@contextlib.asynccontextmanager
async def load(server: RunningServer) -> AsyncIterator[Load]:
    found = Load(f"https://{server.api}", [server.token], ssl.create_default_context(cadata=server.ca_pem))
    try:
        holders = [{"user": f"client-{n}", "groups": [ADMINS], "ttlSeconds": 600} for n in range(CLIENTS)]
        made = [json.loads(await found.ask("POST", "/pylis/v1/apitokens", body))["token"] for body in holders]
        found.use(made)
        yield found
    finally:
        await found.session.close()


@contextlib.contextmanager
def bare(directory: Path, one: bytes, many: bytes) -> Iterator[str]:
    """The handler that answers with the same bytes and knows nothing."""
    certificate = directory / "bare.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*command, *names, "-keyout", str(certificate), "-out", str(directory / "crt")],
        check=True,
        capture_output=True,
    )
    certificate.write_bytes(certificate.read_bytes() + (directory / "crt").read_bytes())
    (directory / "one").write_bytes(one)
    (directory / "many").write_bytes(many)
    arguments = [str(directory / "one"), str(directory / "many"), str(certificate)]
    with subprocess.Popen(
        [sys.executable, "-c", BARE, *arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        if process.stdout is None:
            raise RuntimeError("no output")
        try:
            yield f"https://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.terminate()


@contextlib.asynccontextmanager
async def bare_load(directory: Path, body: bytes) -> AsyncIterator[Load]:
    with bare(directory, body, body) as base:
        plain = Load(base, ["x"], ssl.create_default_context(cafile=directory / "crt"))
        try:
            yield plain
        finally:
            await plain.session.close()


def a_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": {"v": "y" * 200}}


async def reads(directory: Path, seconds: float) -> None:
    """A1."""
    with RunningServer(directory) as server:
        async with load(server) as api:
            for n in range(100):
                await api.ask("POST", MAPS, a_map(f"m{n}"))
            one, many = await api.ask("GET", f"{MAPS}/m1"), await api.ask("GET", MAPS)
            with bare(directory, one, many) as base:
                context = ssl.create_default_context(cafile=directory / "crt")
                plain = Load(base, ["x"], context)
                try:
                    for name, path, bare_path in (("get", f"{MAPS}/m1", "/one"), ("list-100", MAPS, "/many")):
                        ratios, taken = list[float](), list[float]()
                        for _ in range(3):
                            rate, _ = await plain.run(
                                seconds, lambda _c, _n, p=bare_path: plain.ask("GET", p)
                            )
                            ours, times = await api.run(seconds, lambda _c, _n, p=path: api.ask("GET", p))
                            ratios.append(ours / rate)
                            taken += times
                        ratio(f"A1-{name}", ratios, "bare aiohttp handler, same bytes, same run")
                        tail(f"A1-{name}-p99", taken, 25)
                finally:
                    await plain.session.close()


async def writes(directory: Path, dsn: str, seconds: float) -> None:
    """A2 for one store; `dsn` "" is SQLite."""
    name = "postgresql" if dsn else "sqlite"
    where = await fresh_database(dsn) if dsn else str(directory / "alone.db")
    options = ("--store", await fresh_database(dsn)) if dsn else ()
    ratios, of_http, taken = list[float](), list[float](), list[float]()
    with RunningServer(directory, *options, data=f"a2-{name}") as server:
        async with load(server) as api, bare_load(directory, json.dumps(a_map("w")).encode()) as plain:
            for turn in range(3):
                ceiling, _ = await plain.run(
                    seconds, lambda c, n: plain.ask("POST", "/one", a_map(f"w-{c}-{n}"))
                )
                command = [sys.executable, "-c", STORE, where if dsn else f"{where}{turn}", str(seconds)]
                alone = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
                out, _ = await alone.communicate()
                rate, times = await api.run(
                    seconds, lambda c, n, t=turn: api.ask("POST", MAPS, a_map(f"w{t}-{c}-{n}"))
                )
                ratios.append(rate / float(out.splitlines()[-1]))
                of_http.append(rate / ceiling)
                taken += times
                if dsn:
                    where = await fresh_database(dsn)
    ratio(f"A2-{name}", ratios, "the store alone, 8 writers, same run")
    ratio(
        f"A2-{name}-http", of_http, "bare aiohttp handler that parses the body and writes nothing, same run"
    )
    tail(f"A2-{name}-p99", taken, 50)


async def fan_out(directory: Path, watchers: int) -> None:
    """A3."""
    with RunningServer(directory, data="a3") as server:
        async with load(server) as api:
            version = json.loads(await api.ask("GET", MAPS))["metadata"]["resourceVersion"]
            query = f"?watch=1&resourceVersion={version}"
            waiting = [await api.open("GET", MAPS + query) for _ in range(watchers)]
            taken: list[float] = []
            for n in range(5):
                lines = [asyncio.ensure_future(response.content.readline()) for response in waiting]
                began = time.perf_counter()
                await api.ask("POST", MAPS, a_map(f"f{n}"))
                await asyncio.gather(*lines)
                taken.append((time.perf_counter() - began) * 1000)
            for response in waiting:
                response.close()
    line("A3", taken, "ms", 150, f"{watchers} watchers in one client process, its own time included")


async def across(directory: Path, dsn: str) -> None:
    """A4, as far as a watch: written on one server, told by a watch of another."""
    where = await fresh_database(dsn)
    options = ("--store", where, "--envelope-key-file", str(directory / "key"))
    with (
        RunningServer(directory, *options, data="a4-1") as one,
        RunningServer(directory, *options, data="a4-2") as two,
    ):
        async with load(one) as writer, load(two) as reader:
            version = json.loads(await reader.ask("GET", MAPS))["metadata"]["resourceVersion"]
            stream = await reader.open("GET", f"{MAPS}?watch=1&resourceVersion={version}")
            taken: list[float] = []
            for n in range(50):
                await writer.ask("POST", MAPS, a_map(f"x{n}"))
                began = time.perf_counter()
                await stream.content.readline()
                taken.append((time.perf_counter() - began) * 1000)
            stream.close()
    line(
        "A4-watch", taken, "ms", 30, "acknowledged on replica 1 → on a watch of replica 2; Kuma at least 1 s"
    )


async def to_sidecars(directory: Path, dsn: str) -> None:
    """A4: a policy is written on one server; the sidecars it concerns are connected to the other."""
    where = await fresh_database(dsn)
    options = ("--store", where, "--envelope-key-file", str(directory / "key"))
    mesh = LoadMesh("cluster.local", 12, replicas=1, prefix="a4")
    with (
        RunningServer(directory, *options, data="a4-3") as one,
        RunningServer(directory, *options, data="a4-4") as two,
    ):
        context = ssl.create_default_context(cadata=one.ca_pem)
        async with Api(f"https://{one.api}", one.token, context) as api:
            await api.create(mesh.resources())
            fleet = Fleet(two.xds, await api.identities(list(mesh.nodes()), 3600))
            await fleet.connect()
            if not await fleet.complete(60):
                raise RuntimeError("the sidecars got no configuration")
            taken: list[float] = []
            for n in range(50):
                (node,) = mesh.replicas_of(n % mesh.services)
                sidecar = fleet.sidecars[node]
                before = sidecar.responses
                began = time.perf_counter()
                await api.replace(mesh.policy(n % mesh.services, f"/a4-{n}*"))
                if not await fleet.until(lambda s=sidecar, b=before: s.responses > b, 20):
                    raise RuntimeError(f"{node} was told nothing")
                taken.append((time.perf_counter() - began) * 1000)
            fleet.disconnect()
    line("A4", taken, "ms", 30, "asked of replica 1, its answer included → a sidecar of replica 2 has it")
    line("A4-max", [max(taken)], "ms", 150, "the same")


async def many_objects(directory: Path, count: int) -> None:
    """A5."""
    with RunningServer(directory, data="a5") as server:
        before = server.resident_mb()
        async with load(server) as api:
            began = time.perf_counter()
            for start in range(0, count, 50):
                await asyncio.gather(
                    *(api.ask("POST", MAPS, a_map(f"o{n}")) for n in range(start, min(start + 50, count)))
                )
            print(
                json.dumps(
                    {
                        "id": "A5-create",
                        "value": round(time.perf_counter() - began, 1),
                        "unit": "s",
                        "n": count,
                    }
                )
            )
            page, token = list[float](), ""
            while True:
                began = time.perf_counter()
                answer = json.loads(await api.ask("GET", f"{MAPS}?limit=500&continue={token}"))
                page.append((time.perf_counter() - began) * 1000)
                token = answer["metadata"].get("continue", "")
                if not token:
                    break
        line("A5-page", page, "ms", 60, "limit 500, the client's parsing included")
        line("A5-memory", [server.resident_mb() - before], "MB", 80, f"{count} objects added in this process")
        server.stop()
        began = time.perf_counter()
        server.start()
        line("A5-start", [time.perf_counter() - began], "s", 3, f"{count} objects")
        line("A5-memory-restarted", [server.resident_mb() - before], "MB", 80, "the same after a restart")


async def measure(*, quick: bool) -> None:
    seconds = 1.5 if quick else 5.0
    with tempfile.TemporaryDirectory() as name, a_server() as database:
        directory, dsn = Path(name), database.get_uri()
        await reads(directory, seconds)
        await writes(directory, "", seconds)
        await writes(directory, dsn, seconds)
        await fan_out(directory, 1_000)
        await across(directory, dsn)
        await to_sidecars(directory, dsn)
        await many_objects(directory, 10_000)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    asyncio.run(measure(quick=parser.parse_args(arguments).quick))


if __name__ == "__main__":
    main()
