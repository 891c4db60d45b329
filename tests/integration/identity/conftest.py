"""A control plane and agents as processes of their own, asked as users ask them: by command and by API."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60.0  # generous: a loaded machine is no failure


def until(what: Callable[[], Any], why: str = "it never came true", seconds: float = SECONDS) -> Any:
    """The first answer that is true."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, why
        time.sleep(0.02)
    return answer


@dataclass
class AgentProcess:
    process: subprocess.Popen[bytes]
    socket: Path
    data_dir: Path

    @property
    def status(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.data_dir / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return found


@dataclass
class ControlPlaneProcess:
    directory: Path
    options: tuple[str, ...] = ()
    api: str = ""
    xds: str = ""
    agents: dict[str, AgentProcess] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    until = staticmethod(until)

    @property
    def data_dir(self) -> Path:
        return self.directory / "server"

    @property
    def kubeconfig(self) -> Path:
        return self.data_dir / "kubeconfig"

    @property
    def ca_pem(self) -> str:
        cluster = json.loads(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        return base64.b64decode(cluster["certificate-authority-data"]).decode()

    def start(self) -> ControlPlaneProcess:
        addresses = [
            "--api",
            self.api.removeprefix("https://") or "127.0.0.1:0",
            "--xds",
            self.xds or "127.0.0.1:0",
        ]
        arguments = [
            "--data-dir",
            str(self.data_dir),
            *addresses,
            *(() if "--trust-domain" in self.options else ("--trust-domain", "example.org")),
            *self.options,
        ]
        with (self.directory / "server.log").open("ab") as log:
            command = [sys.executable, "-m", "controlplane.cli", "server", *arguments]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], SECONDS)[0], "the server was not ready in time"
        words = self.process.stdout.readline().decode().split()
        assert words[:1] == ["ready"], (self.directory / "server.log").read_text()
        self.api, self.xds = words[words.index("api") + 1], words[words.index("xds") + 1]
        return self

    def stop(self) -> None:
        for one in (self.process, *(agent.process for agent in self.agents.values())):
            if one is not None:
                one.terminate()
                one.communicate(timeout=SECONDS)
        self.process = None

    def run(self, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """A `pylis` command that asks this control plane."""
        env = {**os.environ, "PYLIS_KUBECONFIG": str(self.kubeconfig)}
        command = [sys.executable, "-m", "controlplane.cli", *arguments]
        return subprocess.run(
            command,
            env=env,
            input=text,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            cwd=self.directory,
        )

    def json(self, *arguments: str, text: str = "") -> Any:
        done = self.run(*arguments, "-o", "json", text=text)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def apply(self, *documents: dict[str, Any]) -> None:
        file = self.directory / "applied.yaml"
        file.write_text("\n---\n".join(json.dumps(document) for document in documents))
        done = self.run("apply", "-f", str(file))
        assert done.returncode == 0, done.stderr

    def register(self, name: str, agent: str = "*", **spec: Any) -> None:
        """A registration for any process of this user."""
        self.apply(
            {
                "apiVersion": "pylis.io/v1alpha1",
                "kind": "WorkloadRegistration",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "serviceAccount": name,
                    "selectors": [f"unix:uid:{os.getuid()}"],
                    "agents": [agent],
                    **spec,
                },
            }
        )

    def join(self, name: str) -> AgentProcess:
        """An agent without Envoys, connected."""
        code, said = self.join_with(name, self.run("token", "create", "--agent", name).stdout.strip())
        assert code == 0, said
        return self.agents[name]

    def join_with(self, name: str, token: str, *options: str) -> tuple[int, str]:
        """0 and its log once it is connected, or the code it ended with and what it said."""
        directory, log = self.directory / name, self.directory / f"{name}.log"
        socket = directory / "agent.sock"
        arguments = ["--token", token, "--data-dir", str(directory), "--socket", str(socket), "--no-envoy"]
        with log.open("ab") as file:
            command = [sys.executable, "-m", "controlplane.cli", "agent", "run", *arguments, *options]
            process = subprocess.Popen(command, stdout=file, stderr=file)
        agent = AgentProcess(process, socket, directory)
        until(lambda: agent.status.get("connected") or process.poll() is not None, f"{name} did not connect")
        if (code := process.poll()) is None:
            self.agents[name] = agent
        return code or 0, log.read_text()


@pytest.fixture
def new_control_plane(tmp_path: Path) -> Iterator[Callable[..., ControlPlaneProcess]]:
    """`new_control_plane(*options, name=…)` starts one; all end with the test."""
    started: list[ControlPlaneProcess] = []

    def start(*options: str, name: str = "mesh") -> ControlPlaneProcess:
        (tmp_path / name).mkdir()
        started.append(ControlPlaneProcess(tmp_path / name, options))
        return started[-1].start()

    yield start
    for one in started:
        one.stop()


@pytest.fixture
def control_plane(new_control_plane: Callable[..., ControlPlaneProcess]) -> ControlPlaneProcess:
    return new_control_plane()


@pytest.fixture(scope="module")
def shared_control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlaneProcess]:
    """One for all tests of a module, which leave it as they found it."""
    one = ControlPlaneProcess(tmp_path_factory.mktemp("shared"))
    yield one.start()
    one.stop()
