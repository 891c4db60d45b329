"""What breaks, and what then holds: never open where policy says closed, and back without hands."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from demo.client import Outcome
from demo.containers import OUTSIDE, ContainerMesh, docker
from demo.mesh import DemoError

SECONDS = 60.0


def until(ask: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        try:
            if ask():
                return
        except DemoError:  # a container that restarts cannot be asked
            pass
        time.sleep(0.1)
    pytest.fail(f"not within {SECONDS:.0f} s: {what}")


def frontend_reads(mesh: ContainerMesh) -> Outcome:
    return mesh.probe("frontend").ask(how="http", address="catalog.shop:8080", method="GET", path="/items")


def stranger_reads(mesh: ContainerMesh) -> Outcome:
    return mesh.probe(OUTSIDE).ask(how="http", address="catalog.shop:8080", method="GET", path="/items")


def test_an_app_that_restarts_is_never_open(mesh: ContainerMesh) -> None:
    """A restart gives it a new namespace without rules: the gate holds it back until they are there."""
    app = mesh.container("catalog")
    old = mesh.sidecar("catalog")
    docker("restart", "-t", "1", app)
    answers: list[str] = []

    def back() -> bool:
        answers.append(stranger_reads(mesh).actual)
        return mesh.sidecar("catalog") != old and frontend_reads(mesh).actual == "allow"

    until(back, "catalog serves again")
    assert set(answers) == {"refused"}


def test_a_killed_sidecar_closes_and_comes_back(mesh: ContainerMesh) -> None:
    docker("kill", mesh.sidecar("catalog"))
    assert stranger_reads(mesh).actual == "refused"
    until(lambda: frontend_reads(mesh).actual == "allow", "a new sidecar serves")


def test_without_the_agent_the_mesh_goes_on_and_a_restarted_app_stays_closed(mesh: ContainerMesh) -> None:
    agent = mesh.container("agent")
    docker("kill", agent)
    try:
        assert frontend_reads(mesh).actual == "allow"
        docker("restart", "-t", "1", mesh.container("orders"))
        outcome = mesh.probe(OUTSIDE).ask(
            how="http", address="orders.shop:8080", method="GET", path="/orders"
        )
        assert outcome.actual == "refused"
    finally:
        docker("start", agent)

    def orders() -> bool:
        asked = mesh.probe("frontend").ask(
            how="http", address="orders.shop:8080", method="GET", path="/orders"
        )
        return asked.actual == "allow"

    until(orders, "the agent meshed orders again")


def test_without_the_control_plane_the_mesh_goes_on(mesh: ContainerMesh) -> None:
    server = mesh.container("control-plane")
    docker("kill", server)
    try:
        assert [frontend_reads(mesh).actual for _ in range(5)] == ["allow"] * 5
        assert stranger_reads(mesh).actual == "refused"
    finally:
        docker("start", server)
    mesh.wait_ready()
    assert frontend_reads(mesh).actual == "allow"


def test_scaled_services_are_meshed_one_by_one(mesh: ContainerMesh) -> None:
    mesh.run_compose("up", "-d", "--no-recreate", "--scale", "catalog=3")
    try:
        until(lambda: len({mesh.sidecar("catalog", n) for n in (1, 2, 3)}) == 3, "three sidecars")
        mesh.wait_ready()
        assert frontend_reads(mesh).actual == "allow"
    finally:
        mesh.run_compose("up", "-d", "--no-recreate", "--scale", "catalog=1")
    mesh.wait_ready()


def test_a_container_with_the_label_is_meshed_by_plain_docker_run(mesh: ContainerMesh) -> None:
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("catalog")).strip()
    name = f"{mesh.project}-plain"
    made = docker(
        "run", "-d", "--name", name, "--network", f"{mesh.project}_shop", "--cap-drop", "ALL", "--no-healthcheck",
        "--label", "pylis.io/inject=true", "--label", "pylis.io/namespace=other", "--label", "pylis.io/ports=http:8080",
        "--entrypoint", "python3", image, "-m", "demo.services.web", "--name", "plain", "--host", "0.0.0.0", "--port", "8080",
    ).strip()  # fmt: skip
    try:
        sidecar = ["ps", "-q", "--filter", f"label=pylis.io/sidecar-of={made}"]
        until(lambda: bool(docker(*sidecar).strip()), "it has a sidecar")
        outcome = mesh.probe(OUTSIDE).ask(how="http", address=f"{name}:8080", method="GET", path="/")
        assert outcome.actual == "refused"
    finally:
        docker("rm", "-f", "-v", name)
    until(
        lambda: not docker("ps", "-aq", "--filter", f"label=pylis.io/sidecar-of={made}").strip(), "it is gone"
    )


def test_all_at_once(mesh: ContainerMesh) -> None:
    everything = docker("ps", "-q", "--filter", f"label=com.docker.compose.project={mesh.project}").split()
    docker("restart", "-t", "1", *everything)
    until(lambda: frontend_reads(mesh).actual == "allow", "everything is back")
    assert stranger_reads(mesh).actual == "refused"
