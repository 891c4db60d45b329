"""The same demo by Compose v2: the whole table, and then the control plane's disk (of 16 MB) is full."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.client import Outcome
from demo.container_way import ContainerWay, expectations
from demo.containers import OUTSIDE, ROOT, ContainerMesh, docker
from demo.mesh import DemoError
from demo.run import Runner
from tests.docker.compose_project import images

SECONDS = 60.0
FILL = "dd if=/dev/zero of=/var/lib/pylis/filler bs=4k 2>/dev/null; dd if=/dev/zero of=/var/lib/pylis/filler bs=1 oflag=append conv=notrunc 2>/dev/null; true"
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{matchLabels: {{app: pricing}}}}
  action: DENY
  rules: [{{from: [{{source: {{principals: ["shop.example/ns/other/sa/{name}"]}}}}]}}]
"""


@pytest.fixture(scope="module")
def small(engine: None, compose_v2: Callable[[Path], list[str]]) -> Iterator[ContainerMesh]:
    disk = Path(__file__).with_name("small-disk.yml")
    with ContainerMesh(
        "pylis-test-v2", build=False, compose=compose_v2(ROOT), environment=images(), overrides=(disk,)
    ) as running:
        yield running


def test_every_expectation_holds(small: ContainerMesh) -> None:
    table = expectations()
    held = list(Runner(ContainerWay(small)).run(table))
    assert len(held) == len(table)
    assert [(h.expectation.id, h.outcome, h.rule) for h in held if not h.ok] == []


def root_in_the_volume(mesh: ContainerMesh, script: str) -> str:
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("catalog")).strip()
    return docker(
        "run", "--rm", "--network", "none", "--user", "0", "-v", f"{mesh.project}_data:/var/lib/pylis",
        "--no-healthcheck", "--entrypoint", "sh", image, "-c", script,
    )  # fmt: skip


def asks(mesh: ContainerMesh, who: str) -> Outcome:
    return mesh.probe(who).ask(how="http", address="catalog.shop:8080", method="GET", path="/items")


def policies(mesh: ContainerMesh) -> set[str]:
    listed = json.loads(mesh.pylis("get", "authorizationpolicies", "-n", "shop", "-o", "json"))
    return {one["metadata"]["name"] for one in listed["items"]}


def applied_in_the_end(mesh: ContainerMesh, name: str) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            mesh.pylis("apply", "-f", "-", input_text=POLICY.format(name=name))
        except DemoError as error:
            if time.monotonic() > end:
                pytest.fail(f"not within {SECONDS:.0f} s: {name} is applied: {error}")
            time.sleep(0.2)
        else:
            return


def test_a_full_disk_refuses_writes_says_so_and_loses_nothing(small: ContainerMesh) -> None:
    small.pylis("apply", "-f", "-", input_text=POLICY.format(name="before"))
    before = policies(small)
    root_in_the_volume(small, FILL)
    with pytest.raises(DemoError, match="disk is full"):
        for number in range(200):  # what is left in the store's own files is used up first
            small.pylis("apply", "-f", "-", input_text=POLICY.format(name=f"lost-{number}"))
            before.add(f"lost-{number}")
    assert policies(small) == before  # what was acknowledged is there, and nothing else
    assert [asks(small, who).actual for who in ("frontend", OUTSIDE)] == ["allow", "refused"]
    root_in_the_volume(small, "rm /var/lib/pylis/filler")
    applied_in_the_end(small, "after")
    assert policies(small) == before | {"after"}


def test_a_control_plane_that_starts_on_a_full_disk_is_back_when_there_is_space(small: ContainerMesh) -> None:
    before = policies(small)
    root_in_the_volume(small, FILL)
    docker("restart", "-t", "5", small.container("control-plane"))
    assert [asks(small, who).actual for who in ("frontend", OUTSIDE)] == ["allow", "refused"]
    root_in_the_volume(small, "rm /var/lib/pylis/filler")
    applied_in_the_end(small, "at-last")
    assert policies(small) == before | {"at-last"}
    small.wait_ready()
