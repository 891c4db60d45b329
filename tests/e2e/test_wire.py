"""What is really spoken between sidecars, and from sidecars to the control plane, as Envoy itself counts it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import envoy
from demo.client import Http
from demo.mesh import DemoMesh

CURVES = re.compile(r"^(listener|cluster)\.(\S+)\.ssl\.curves\.(\S+): (\d+)$", re.MULTILINE)
VERSIONS = re.compile(r"^(listener|cluster)\.(\S+)\.ssl\.versions\.(\S+): (\d+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    with DemoMesh(tmp_path_factory.mktemp("mesh") / "state", quiet=True) as running:
        yield running


def _admin(mesh: DemoMesh, workload: str) -> Path:
    """The admin socket of the workload's Envoy, which its bootstrap names."""
    namespace, _, name = workload.partition("/")
    (bootstrap,) = (mesh.state_dir / "agent").rglob(f"{namespace}.{name}.json")
    return Path(json.loads(bootstrap.read_text())["admin"]["address"]["pipe"]["path"])


def _stats(mesh: DemoMesh, workload: str) -> str:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(_admin(mesh, workload)))
        admin.sendall(b"GET /stats HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")
        return b"".join(iter(lambda: admin.recv(65536), b"")).decode()


def _spoken(pattern: re.Pattern[str], stats: str) -> dict[str, set[str]]:
    """listener / cluster name → what was negotiated there at least once."""
    spoken: dict[str, set[str]] = {}
    for kind, name, what, count in pattern.findall(stats):
        if int(count):
            spoken.setdefault(f"{kind}.{name}", set()).add(what)
    return spoken


def test_tls_13_and_post_quantum_key_exchange_everywhere(mesh: DemoMesh) -> None:
    live = Http(mesh.workload("shop/frontend")["httpProxy"], "catalog.shop:8080", proxy=True)
    end = time.monotonic() + 20
    while live.send("GET", "/items").actual != "allow":
        assert time.monotonic() < end
    live.close()
    for workload in ("shop/frontend", "shop/catalog"):
        stats = _stats(mesh, workload)
        curves, versions = _spoken(CURVES, stats), _spoken(VERSIONS, stats)
        assert "cluster.xds" in curves, sorted(curves)
        assert set(map(frozenset, curves.values())) == {frozenset({"X25519MLKEM768"})}, curves
        assert set(map(frozenset, versions.values())) == {frozenset({"TLSv1.3"})}, versions
    assert any(name.startswith("listener.127.0.0.1_") for name in curves), sorted(curves)


async def test_a_drain_waits_for_the_last_connection_and_tells_it_to_close(mesh: DemoMesh) -> None:
    """Of an Envoy nobody else here asks: afterwards it takes no connection."""
    orders = mesh.workload("shop/orders")["inbound"]["http"]
    live = Http(orders, "orders.shop:8080", context=mesh.credentials("shop/frontend").context())
    assert (await asyncio.to_thread(live.send, "GET", "/orders")).actual == "allow"
    draining = asyncio.ensure_future(envoy.drain(_admin(mesh, "shop/orders"), 30.0))
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await asyncio.shield(draining)
        last = await asyncio.to_thread(live.send, "GET", "/orders")
        assert (last.actual, last.status) == ("allow", 200)
        began = time.monotonic()
        await draining
        assert time.monotonic() - began < 20
    finally:
        draining.cancel()
        live.close()
