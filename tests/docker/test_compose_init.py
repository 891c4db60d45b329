"""Compose projects as people write them: meshed by one command, nothing of theirs changed, and taken out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.containers import docker
from tests.docker.compose_project import Project, fetch, images, project
from tests.docker.waiting import address_of, until

Command = Callable[[Path], list[str]]


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory, compose_v2: Command) -> Iterator[Project]:
    """Closed from the start, by Compose v2; there while other projects come and go."""
    with project(tmp_path_factory.mktemp("v2"), "scaled", compose_v2) as app:
        app.init("--mode", "enforce")
        app.compose("up", "-d", "--scale", "catalog=3")
        yield app


CALL = "import urllib.request as r; print(r.urlopen('http://{host}:8080/', timeout=5).read())"


def calls(app: Project, service: str, host: str) -> str:
    return docker("exec", app.container(service), "python3", "-c", CALL.format(host=host))


def address(app: Project, service: str, number: int = 1) -> str:
    return address_of(app.container(service, number), f"{app.name}_default")


def strangers_answer(app: Project, network: str, host: str) -> str:
    """To one who is in the project's network and in no mesh; "refused" when there is none."""
    script = CALL.format(host=host)
    return docker(
        "run", "--rm", "--network", f"{app.name}_{network}", "--no-healthcheck", "--entrypoint", "python3",
        images()["PYLIS_IMAGE"], "-c", f"try:\n {script}\nexcept OSError: print('refused')",
    ).strip()  # fmt: skip


def test_a_service_scaled_to_three(scaled: Project) -> None:
    replicas = (1, 2, 3)
    until(
        lambda: (
            "catalog" in calls(scaled, "caller", "catalog")
            and len({scaled.sidecar("catalog", n) for n in replicas}) == 3
        ),
        "three replicas behind three sidecars",
    )
    for number in replicas:
        assert "/sa/caller" in calls(scaled, "caller", address(scaled, "catalog", number))
    assert strangers_answer(scaled, "default", "catalog") == "refused"


def test_a_replica_that_restarts_is_never_open(scaled: Project) -> None:
    app, old = scaled.container("catalog", 2), scaled.sidecar("catalog", 2)
    where = address(scaled, "catalog", 2)
    docker("restart", "-t", "1", app)
    heard: list[str] = []

    def back() -> bool:
        heard.append(strangers_answer(scaled, "default", where))
        return scaled.sidecar("catalog", 2) != old and "catalog" in calls(scaled, "caller", "catalog")

    until(back, "it is behind a new sidecar")
    assert set(heard) == {"refused"}


def test_a_web_app_with_postgresql_and_redis(scaled: Project, tmp_path: Path, compose_v1: Command) -> None:
    """On the engine of another mesh, which does not notice."""
    theirs = scaled.sidecars()
    with project(tmp_path, "webapp", compose_v1) as app:
        before = app.digest()
        said = app.init()
        assert "port 8000 is published" in said
        app.compose("up", "-d")
        until(lambda: "db=42 hits=" in fetch(18080), "the web app answers through its sidecars")
        assert '"peer":"spiffe://pylis-test-webapp.pylis.local/ns/pylis-test-webapp/sa/web"' in docker(
            "logs", app.sidecar("db")
        )
        assert "/sa/web" in docker("logs", app.sidecar("cache"))
        outside = docker(
            "run", "--rm", "--network", f"{app.name}_default", "--entrypoint", "redis-cli", "pylis-test-webapp",
            "-h", "cache", "ping", quiet=True,
        )  # fmt: skip
        assert "PONG" in outside  # observed: nothing is refused yet
        docker("restart", "-t", "1", app.container("db"))
        until(lambda: "db=42" in fetch(18080), "after a restart of the database")
        app.pylis("compose", "eject")
        assert app.digest() == before
        assert not app.sidecars()
        left = docker("volume", "ls", "-q", "--filter", f"name={app.name}_pylis").split()
        assert left == [f"{app.name}_pylis-gate"]  # the project's containers use it until they are made anew
        app.compose("up", "-d", "--remove-orphans")
        until(lambda: "db=42 hits=" in fetch(18080), "the project is what it was")
        docker("volume", "rm", *left)
        dropped = docker("inspect", "-f", "{{.HostConfig.CapDrop}}", app.container("web")).strip()
        assert dropped in ("[]", "<no value>")
    assert scaled.sidecars() == theirs


def test_two_networks_and_published_ports(scaled: Project, tmp_path: Path, compose_v1: Command) -> None:
    theirs = scaled.sidecars()
    with project(tmp_path, "networks", compose_v1) as app:
        assert "debug" in app.init("--mode", "enforce")
        app.compose("up", "-d")
        until(lambda: "front" in fetch(18081), "the published port answers")
        until(lambda: "back" in calls(app, "front", "behind"), "across the inner network")
        assert "/sa/front" in calls(app, "front", "behind")
        assert (
            strangers_answer(app, "inner", "behind") == "refused"
        )  # only what is published takes plain text
        assert [fetch(18081) for _ in range(5)] == [fetch(18081)] * 5
    assert scaled.sidecars() == theirs
