"""Requests through two Envoys while the authorities are prepared, activated, tainted and revoked twice: none fails.

The short form runs with everything else; `make test-rotation SECONDS=60` keeps on for longer.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.client import Http
from demo.mesh import DemoMesh

SECONDS = float(os.environ.get("PYLIS_ROTATION_SECONDS", "0"))
WORKERS = 4


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    with DemoMesh(tmp_path_factory.mktemp("mesh") / "state", quiet=True) as running:
        yield running


class Load:
    """Workers that ask without a pause, half of them on a new connection each time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._end = threading.Event()
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(n % 2 == 0,)) for n in range(WORKERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, keeps: bool) -> None:
        connection = Http(self._address, "catalog.shop:8080", proxy=True)
        while not self._end.is_set():
            answer = connection.send("GET", "/items")
            self.seen[answer.actual] += 1
            if answer.actual != "allow":
                self.failures.append(f"{answer.actual} {answer.status} {answer.detail[:200]}")
            if not keeps:
                connection.close()
        connection.close()


def pylis(mesh: DemoMesh, *arguments: str) -> str:
    return mesh.pylis(*arguments, "--kubeconfig", str(mesh.kubeconfig.absolute()))


def status(mesh: DemoMesh) -> Any:
    return json.loads(pylis(mesh, "ca", "status", "-o", "json"))


def acknowledged(mesh: DemoMesh) -> None:
    end = time.monotonic() + 120
    while waiting := status(mesh)["waitingFor"]:
        assert time.monotonic() < end, f"{waiting} did not acknowledge"
        time.sleep(0.05)


def rotate(mesh: DemoMesh, family: str) -> None:
    for step in ("prepare", "activate", "taint", "revoke"):
        acknowledged(mesh)
        pylis(mesh, "ca", step, "--type", family)


@pytest.mark.spiffe("F-02", "A-05")
def test_no_request_fails_while_every_authority_is_replaced_twice(mesh: DemoMesh, tmp_path: Path) -> None:
    address = mesh.workload("shop/frontend")["httpProxy"]
    first = Http(address, "catalog.shop:8080", proxy=True)
    end = time.monotonic() + 60
    while first.send("GET", "/items").actual != "allow":
        assert time.monotonic() < end, "the mesh does not serve"
    first.close()
    before = {one["id"] for family in ("x509", "jwt") for one in status(mesh)[family]}
    began = time.monotonic()
    with Load(address) as load:
        for _ in range(2):
            for family in ("x509", "jwt"):
                rotate(mesh, family)
        while time.monotonic() - began < SECONDS:
            rotate(mesh, "x509")
        acknowledged(mesh)
    assert load.failures == []
    assert load.seen["allow"] > 100
    active = {
        one["id"] for family in ("x509", "jwt") for one in status(mesh)[family] if one["status"] == "active"
    }
    assert len(active) == 2
    assert not active & before
    # what every sidecar presents is under the new root: the bundle of now holds no other
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(pylis(mesh, "bundle", "show"))
    assert bundle.read_text().count("BEGIN CERTIFICATE") == 1
    context = mesh.credentials("shop/frontend", ttl="40m").context(bundle)
    for name in ("shop/catalog", "shop/orders", "pay/payments"):
        straight = Http(mesh.workload(name)["inbound"]["http"], "any.shop:8080", context=context)
        assert straight.send("GET", "/").actual != "refused", name
        straight.close()
