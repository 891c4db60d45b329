"""Requests through two Envoys while the authorities are prepared, activated, tainted and revoked twice: none fails.

Two loads at once: wrk on connections that stay open (where wrk is installed; the run's last lines say so where it
is not), and requests on a new connection each. The short form runs with everything else; `make test-rotation
SECONDS=60` keeps on for longer.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.wrk import PROGRAM, Wrk
from controlplane.cli.client import Client, connect
from demo.client import Http
from demo.mesh import DemoMesh

SECONDS = float(os.environ.get("PYLIS_ROTATION_SECONDS", "0"))
PATH = "/pylis/v1/authorities"
HOST = "catalog.shop:8080"


class Strangers:
    """Threads that ask without a pause, on a new connection each time."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._end = threading.Event()
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]

    def __enter__(self) -> Strangers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self) -> None:
        connection = Http(self._address, HOST, proxy=True)
        while not self._end.is_set():
            answer = connection.send("GET", "/items")
            self.seen[answer.actual] += 1
            if answer.actual != "allow":
                self.failures.append(f"{answer.actual} {answer.status} {answer.detail[:200]}")
            connection.close()


@dataclass(frozen=True)
class Rotated:
    """What was seen while everything was replaced; `before`: the authorities of then; `wrk` is empty without it."""

    before: set[str]
    strangers: Strangers
    wrk: dict[str, int]


@dataclass(frozen=True)
class Authorities:
    """As `pylis ca` asks for them; the kubeconfig follows the root that the API's certificate chains to."""

    kubeconfig: Path

    @property
    def api(self) -> Client:
        return connect(self.kubeconfig)

    def status(self) -> Any:
        return self.api.request("GET", PATH)

    def ids(self, wanted: str) -> set[str]:
        now = self.status()
        return {one["id"] for family in ("x509", "jwt") for one in now[family] if one["status"] == wanted}

    def acknowledged(self) -> None:
        end = time.monotonic() + 120
        while waiting := self.status()["waitingFor"]:
            assert time.monotonic() < end, f"{waiting} did not acknowledge"
            time.sleep(0.05)

    def rotate(self, family: str) -> None:
        for step, status in (("activate", "prepared"), ("taint", "old"), ("revoke", "tainted")):
            if step == "activate":
                self.acknowledged()
                self.api.request("POST", f"{PATH}/prepare", {"type": family})
            self.acknowledged()
            (one,) = [one["id"] for one in self.status()[family] if one["status"] == status]
            self.api.request("POST", f"{PATH}/{step}", {"id": one})


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    with DemoMesh(tmp_path_factory.mktemp("mesh") / "state", quiet=True) as running:
        yield running


@pytest.fixture(scope="module")
def rotated(mesh: DemoMesh, tmp_path_factory: pytest.TempPathFactory) -> Rotated:
    """Every authority replaced twice, under load."""
    address = mesh.workload("shop/frontend")["httpProxy"]
    first = Http(address, HOST, proxy=True)
    end = time.monotonic() + 60
    while first.send("GET", "/items").actual != "allow":
        assert time.monotonic() < end, "the mesh does not serve"
    first.close()
    authorities = Authorities(mesh.kubeconfig)
    before = authorities.ids("active")
    began = time.monotonic()
    with ExitStack() as loads:
        wrk = (
            loads.enter_context(Wrk(address, HOST, "/items", tmp_path_factory.mktemp("wrk")))
            if PROGRAM
            else None
        )
        strangers = loads.enter_context(Strangers(address))
        for _ in range(2):
            for family in ("x509", "jwt"):
                authorities.rotate(family)
        while time.monotonic() - began < SECONDS:
            authorities.rotate("x509")
        authorities.acknowledged()
    return Rotated(before, strangers, wrk.counted if wrk else {})


@pytest.mark.spiffe("F-02", "A-05")
def test_no_request_on_a_new_connection_fails(rotated: Rotated) -> None:
    assert rotated.strangers.failures == []
    assert rotated.strangers.seen["allow"] > 20


@pytest.mark.skipif(
    PROGRAM is None, reason="no wrk on PATH (Debian: apt-get install wrk): its load was not tried"
)
def test_wrk_counts_no_failed_request(rotated: Rotated) -> None:
    counted = dict(rotated.wrk)
    requests = counted.pop("requests")
    print(f"wrk: {requests} requests while the authorities were replaced")
    assert set(counted.values()) == {0}, counted
    assert requests > 100


def test_in_the_end_every_leaf_is_under_the_new_root(
    rotated: Rotated, mesh: DemoMesh, tmp_path: Path
) -> None:
    active = Authorities(mesh.kubeconfig).ids("active")
    assert len(active) == 2
    assert not active & rotated.before
    # what every sidecar presents is under the new root: the bundle of now holds no other
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(mesh.pylis("bundle", "show", "--kubeconfig", str(mesh.kubeconfig.absolute())))
    assert bundle.read_text().count("BEGIN CERTIFICATE") == 1
    context = mesh.credentials("shop/frontend", ttl="40m").context(bundle)
    workloads = [w["inbound"]["http"] for w in mesh.info["workloads"].values() if "http" in w["inbound"]]
    assert len(workloads) >= 3
    for address in workloads:
        straight = Http(address, "any.shop:8080", context=context)
        assert straight.send("GET", "/").actual != "refused", address
        straight.close()
