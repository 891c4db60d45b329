"""On a real engine, as root: `make test-docker`. Not part of `make test`, whose last lines say so.

The first mesh of the session is brought up by docker-compose 1.29 (where it is installed), a second one by Compose v2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.containers import ContainerMesh, docker
from tests.docker.compose_project import images

WANTED = os.environ.get("PYLIS_TEST_DOCKER") == "1"
PROJECT = "pylis-test"
HERE = Path(__file__).parent
V2_IMAGE = "pylis-test-compose"
BUILD_SECONDS = 900.0
collect_ignore_glob: list[str] = [] if WANTED else ["test_*.py"]


def found() -> dict[str, set[str]]:
    """What a run must leave as it found it: anonymous volumes, and this machine's own rules, too."""
    nft = shutil.which("nft")
    tables = (
        subprocess.run([nft, "list", "tables"], capture_output=True, text=True, check=False) if nft else None
    )
    return {
        "containers": set(docker("ps", "-aq", "--no-trunc", "--filter", "name=pylis").split()),
        "networks": set(docker("network", "ls", "-q", "--no-trunc", "--filter", "name=pylis").split()),
        "volumes": set(docker("volume", "ls", "-q").split()),
        "images": set(docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "pylis*").split()),
        "tables": {line for line in tables.stdout.splitlines() if "pylis" in line} if tables else set(),
    }


@pytest.fixture(scope="session", autouse=True)
def engine() -> Iterator[None]:
    """What was built for the tests only goes as well; its layers stay as any build's do."""
    before = found()
    yield
    for image in found()["images"] - before["images"]:
        docker("rmi", "--no-prune", image)
    after = found()
    assert {kind: after[kind] - before[kind] for kind in before} == {kind: set() for kind in before}


@pytest.fixture(scope="session")
def compose_v2(engine: None) -> Callable[[Path], list[str]]:
    """The command that serves a project in a directory: this machine's, or one in a container."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0:
        return lambda _: ["docker", "compose"]
    subprocess.run(
        ["docker", "build", "-q", "-t", V2_IMAGE, str(HERE / "compose-v2")],
        check=True, capture_output=True, timeout=BUILD_SECONDS,
    )  # fmt: skip

    def command(directory: Path) -> list[str]:
        mounts = ["/var/run/docker.sock:/var/run/docker.sock", f"{directory}:{directory}"]
        names = ["PYLIS_IMAGE", "PYLIS_AGENT_IMAGE", "COMPOSE_PROJECT_NAME"]
        return [
            "docker", "run", "--rm", "--network", "none", "-w", str(directory),
            *(part for mount in mounts for part in ("-v", mount)),
            *(part for name in names for part in ("-e", name)),
            V2_IMAGE, "docker", "compose",
        ]  # fmt: skip

    return command


@pytest.fixture(scope="session")
def compose_v1(compose_v2: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """The older one; v2 where it is not installed, and the last lines say so."""
    return (lambda _: ["docker-compose"]) if shutil.which("docker-compose") else compose_v2


@pytest.fixture(scope="session")
def mesh(engine: None, compose_v1: Callable[[Path], list[str]]) -> Iterator[ContainerMesh]:
    command = compose_v1(HERE.parents[1])
    with ContainerMesh(PROJECT, build=False, compose=command, environment=images()) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if WANTED and not shutil.which("docker-compose"):
        terminalreporter.write_line("not tried: docker-compose 1.29, which is not installed")
