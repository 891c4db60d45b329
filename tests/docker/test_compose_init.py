"""Compose projects as people write them: meshed by one command, nothing of theirs changed, and taken out again."""

from __future__ import annotations

from pathlib import Path

from demo.containers import SIDECAR_OF, docker
from tests.docker.compose_project import fetch, project, until


def test_a_web_app_with_postgresql_and_redis(tmp_path: Path) -> None:
    with project(tmp_path, "webapp") as app:
        before = app.digest()
        said = app.init()
        assert "port 8000 is published" in said
        app.compose("up", "-d")
        until(lambda: "db=42 hits=" in fetch(18080), "the web app answers through its sidecars")
        assert (
            '"peer":"spiffe://pylis-test-webapp.pylis.local/ns/pylis-test-webapp/sa/web"'
            in app.sidecar_log("db")
        )
        assert "/sa/web" in app.sidecar_log("cache")
        outside = docker(
            "run", "--rm", "--network", f"{app.name}_default", "--entrypoint", "redis-cli", "pylis-test-webapp",
            "-h", "cache", "ping", quiet=True,
        )  # fmt: skip
        assert "PONG" in outside  # observed: nothing is refused yet
        docker("restart", "-t", "1", app.container("db"))
        until(lambda: "db=42" in fetch(18080), "after a restart of the database")
        app.pylis("compose", "eject")
        assert app.digest() == before
        assert not docker("ps", "-aq", "--filter", f"label={SIDECAR_OF}").strip()
        left = docker("volume", "ls", "-q", "--filter", f"name={app.name}_pylis").split()
        assert left == [f"{app.name}_pylis-gate"]  # the project's containers use it until they are made anew
        app.compose("up", "-d", "--remove-orphans")
        until(lambda: "db=42 hits=" in fetch(18080), "the project is what it was")
        docker("volume", "rm", *left)
        assert docker("inspect", "-f", "{{.HostConfig.CapDrop}}", app.container("web")).strip() in (
            "[]",
            "<no value>",
        )


def test_a_service_scaled_to_three(tmp_path: Path) -> None:
    with project(tmp_path, "scaled") as app:
        app.init()
        app.compose("up", "-d", "--scale", "catalog=3")
        call = "import urllib.request as r; print(*sorted({r.urlopen('http://catalog:8080/', timeout=5).read()[:20] for _ in range(9)}))"

        def meshed() -> bool:
            answered = docker("exec", app.container("caller"), "python3", "-c", call)
            log = [app.container("catalog", n) for n in (1, 2, 3)]
            sidecars = [docker("ps", "-q", "--filter", f"label={SIDECAR_OF}={one}").strip() for one in log]
            return "catalog" in answered and all(sidecars)

        until(meshed, "three replicas behind three sidecars")


def test_two_networks_and_published_ports(tmp_path: Path) -> None:
    with project(tmp_path, "networks") as app:
        assert "debug" in app.init()
        app.compose("up", "-d")
        until(lambda: "front" in fetch(18081), "the published port answers")
        call = "import urllib.request as r; print(r.urlopen('http://behind:8080/', timeout=5).read())"
        until(
            lambda: "back" in docker("exec", app.container("front"), "python3", "-c", call),
            "across the inner network",
        )
        assert "/sa/front" in docker("exec", app.container("front"), "python3", "-c", call)
