"""Compose projects as people write them: copied, meshed by one command, run, taken down; nothing may stay."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.containers import compose_command, container_of, docker, sidecar_of


def images() -> dict[str, str]:
    return {
        "PYLIS_IMAGE": os.environ.get("PYLIS_IMAGE", "pylis:latest"),
        "PYLIS_AGENT_IMAGE": os.environ.get("PYLIS_AGENT_IMAGE", "pylis-agent:latest"),
    }


HERE = Path(__file__).parent / "projects"


class Project:
    """A user's, in a directory of its own; `command` is compose, of either version."""

    def __init__(self, directory: Path, name: str, command: list[str]) -> None:
        self.directory = directory
        self.name = name
        self.command = command
        self.env = {**os.environ, **images(), "COMPOSE_PROJECT_NAME": name}

    def pylis(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "controlplane.cli", *arguments], capture_output=True, text=True, check=False,
            cwd=self.directory, env={**self.env, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def init(self, *options: str) -> str:
        own, agents = images()["PYLIS_IMAGE"], images()["PYLIS_AGENT_IMAGE"]
        return self.pylis("compose", "init", "--image", own, "--agent-image", agents, *options)

    def compose(self, *arguments: str) -> str:
        files = ["-f", "docker-compose.yml"]
        if (self.directory / "compose.pylis.yml").exists():
            files += ["-f", "compose.pylis.yml"]
        done = subprocess.run(
            [*self.command, *files, *arguments], capture_output=True, text=True, check=False, cwd=self.directory,
            env=self.env,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def container(self, service: str, number: int = 1) -> str:
        return container_of(self.name, service, number)

    def sidecar(self, service: str, number: int = 1) -> str:
        return sidecar_of(self.name, service, number)

    def sidecars(self) -> set[str]:
        return set(docker("ps", "-aq", "--filter", f"label=pylis.io/project={self.name}").split())

    def sidecar_log(self, service: str) -> str:
        return docker("logs", self.sidecar(service))

    def control(self, *arguments: str, input_text: str | None = None) -> str:
        """A command of the administrator's, where the control plane is."""
        return docker(
            "exec", "-i", self.container("pylis-control-plane"), "pylis", *arguments, input_text=input_text
        )

    def digest(self) -> str:
        files = sorted(p for p in self.directory.rglob("*") if p.is_file())
        return hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in files)).hexdigest()


@contextmanager
def project(
    tmp_path: Path, kind: str, command: Callable[[Path], list[str]] = lambda _: compose_command()
) -> Iterator[Project]:
    """`command`: what compose is for a project in a directory."""
    directory = tmp_path / kind
    shutil.copytree(HERE / kind, directory)
    found = Project(directory, f"pylis-test-{kind}", command(directory))
    try:
        yield found
    finally:
        found.compose("down", "-v", "--remove-orphans", "-t", "2")
    assert not docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={found.name}").strip()
    assert not docker("volume", "ls", "-q", "--filter", f"name={found.name}").strip()
    assert not docker("network", "ls", "-q", "--filter", f"name={found.name}").strip()
    assert not found.sidecars()


def fetch(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)
