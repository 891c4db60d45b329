"""A process in a real container is known by what the engine says of it, and by nothing it says itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# the agent has to see the containers' processes: with `make test-docker`, not where tests have a pid namespace
pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif("PYLIS_TEST_DOCKER" not in os.environ, reason="containers are for make test-docker"),
]
Plane = Any
SOCKET = Path("/var/run/docker.sock")
# any image with Python: the client speaks gRPC by hand, so that nothing has to be installed in it
CLIENT = Path(__file__).with_name("container_client.py")


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image() -> str:
    found = docker(
        "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=python*"
    ).splitlines()
    assert found, "no image with Python in the local engine"
    return found[0]


@pytest.fixture
def fetch(image: str) -> Iterator[Callable[..., str]]:
    """Runs a container that asks the socket; what it was given, or the status it was refused with."""
    names: list[str] = []

    def run(agent: Any, *options: str) -> str:
        names.append(f"pylis-test-{len(names)}-{agent.data_dir.parent.parent.name}")
        mounts = ["-v", f"{agent.socket.parent}:/agent", "-v", f"{CLIENT}:/client.py:ro"]
        return docker(
            "run",
            "--rm",
            "--name",
            names[-1],
            "--network",
            "none",
            *mounts,
            *options,
            image,
            "python3",
            "/client.py",
        )

    yield run
    for name in names:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True, check=False)


def test_labels_environment_image_and_compose_service_are_selectors(
    control_plane: Plane, fetch: Callable[..., str], image: str
) -> None:
    image_id = docker("image", "inspect", "--format", "{{.Id}}", image)
    wanted = {
        "by-label": ["docker:label:team:checkout"],
        "by-env": ["docker:env:MODE=live"],
        "by-image": [f"docker:image_id:{image_id}", f"docker:image:{image}"],
        "by-service": ["docker:compose:project:shop", "docker:compose:service:orders"],
        "by-other": ["docker:label:team:payments"],
    }
    for name, selectors in wanted.items():
        control_plane.register(name, selectors=selectors)
    agent = control_plane.join("one")
    control_plane.until(lambda: len(agent.status.get("identities", [])) == len(wanted), "not issued")
    options = [
        "-e", "MODE=live", "-l", "team=checkout",
        "-l", "com.docker.compose.project=shop", "-l", "com.docker.compose.service=orders",
    ]  # fmt: skip
    given = fetch(agent, *options).split()
    assert given == [
        f"spiffe://example.org/ns/default/sa/{n}" for n in ("by-env", "by-image", "by-label", "by-service")
    ]
    assert fetch(agent).split() == ["spiffe://example.org/ns/default/sa/by-image"]


def test_a_container_without_a_registration_is_refused(
    control_plane: Plane, fetch: Callable[..., str]
) -> None:
    control_plane.register("other", selectors=["docker:label:team:payments"])
    agent = control_plane.join("one")
    control_plane.until(lambda: agent.status.get("identities"), "not issued")
    assert fetch(agent, "-l", "team=checkout") == "refused"
