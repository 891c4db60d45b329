"""The compose demo: every line of the demo's table, by real requests through intercepted sockets; and one service's way
from observe to enforce, as `make demo-docker` shows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from demo import command, observing
from demo.container_way import ContainerWay, expectations
from demo.containers import ContainerMesh, docker
from demo.expectation import Held
from demo.mesh import DemoError
from demo.observing import Observing, Typed
from demo.run import Runner

# the rows that fail where the service stays enforced
OBSERVED = {"observed-put", "observed-intruder", "observed-plaintext"}


class Deaf(ContainerMesh):
    """A mesh whose operator is not heard."""

    def run_compose(self, *arguments: str, seconds: float = 120) -> str:
        raise DemoError("no answer")


@pytest.fixture(scope="session")
def runner(mesh: ContainerMesh) -> Runner:
    return Runner(ContainerWay(mesh))


def enforced(mesh: ContainerMesh) -> str:
    shop = json.loads(mesh.pylis("get", "namespaces", "shop", "-o", "json"))
    return str(shop["metadata"].get("annotations", {}).get("pylis.io/enforce", ""))


def running(mesh: ContainerMesh) -> set[str]:
    """Each container of the project's and each of their sidecars, with when it started."""
    ids = [
        one
        for label in (f"com.docker.compose.project={mesh.project}", f"pylis.io/project={mesh.project}")
        for one in docker("ps", "-q", "--filter", f"label={label}").split()
    ]
    return set(docker("inspect", "-f", "{{.Id}} {{.State.StartedAt}}", *ids).splitlines())


def walk(mesh: ContainerMesh, seconds: float) -> tuple[list[Held], list[Typed], Observing]:
    path = Observing(mesh, seconds)
    steps = list(path.run(observing.expectations()))
    return [s for s in steps if isinstance(s, Held)], [s for s in steps if isinstance(s, Typed)], path


def test_every_expectation_holds(runner: Runner) -> None:
    """One after the other, in the table's order: some change a policy and undo it."""
    table = expectations()
    held = list(runner.run(table))
    assert len(held) == len(table)
    assert [(h.expectation.id, h.outcome, h.rule) for h in held if not h.ok] == []


def test_a_service_goes_from_observe_to_enforce_and_no_container_starts_anew(mesh: ContainerMesh) -> None:
    before = running(mesh)
    assert enforced(mesh) == "orders"
    held, typed, path = walk(mesh, observing.TURN_SECONDS)
    assert [(h.expectation.id, h.outcome, h.rule) for h in held if not h.ok] == []
    assert len(held) == len(observing.expectations())
    undo, report, enforce = typed
    assert undo.command.endswith("pylis enforce orders -n shop --undo")
    assert undo.said == "shop/orders is observed: nothing is refused"
    assert report.command == f"pylis observed -p {mesh.project}"
    assert all(one["rule"] in report.said for one in path.refusals)
    assert {(one["service"], one["what"]) for one in path.refusals} == {
        ("orders.shop", "PUT /orders/1"),
        ("orders.shop", "GET /orders"),
    }
    assert enforce.command.endswith("pylis enforce orders -n shop")
    assert enforce.said == "shop/orders is enforced"
    assert enforced(mesh) == "orders"
    assert running(mesh) == before


def test_a_service_that_stays_enforced_is_noticed(
    mesh: ContainerMesh, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh.pylis("enforce", "--all", "-n", "shop")
    try:
        code = command.run(Observing(mesh, 0.5).run(observing.expectations()), "json")
    finally:
        mesh.pylis("enforce", "--all", "-n", "shop", "--undo")
    answer = json.loads(capsys.readouterr().out)
    assert code == 1
    assert {one["id"] for one in answer["expectations"] if not one["ok"]} == OBSERVED
    assert answer["failed"] == len(OBSERVED)
    assert enforced(mesh) == "orders"


def test_commands_that_fail_are_expectations_that_do_not_hold(mesh: ContainerMesh) -> None:
    deaf = Deaf(mesh.project, mesh.file, compose=mesh.compose, environment=mesh.environment)
    try:
        held, *_ = walk(deaf, observing.TURN_SECONDS)
    finally:
        deaf.end_probes()
    assert [h.expectation.id for h in held if h.ok] == ["open-before"]
    assert {h.rule for h in held if not h.ok} == {"no answer"}


def test_without_an_engine_it_says_what_to_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli", "demo", "--containers", "--once"], capture_output=True, text=True,
        check=False, env={**os.environ, "DOCKER_HOST": "unix:///no/such.sock"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "unix:///no/such.sock" in done.stderr
    assert "systemctl start docker" in done.stderr
    assert "Traceback" not in done.stderr
