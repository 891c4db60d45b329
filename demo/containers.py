"""The demo in containers as a user runs it: `docker compose up`, then commands in containers. Docker's own tools only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from demo.client import Outcome
from demo.mesh import DemoError

ROOT = Path(__file__).parents[1]
UP_SECONDS = 300.0
READY_SECONDS = 120.0
SIDECAR_OF = "pylis.io/sidecar-of"
OUTSIDE = "outside"  # a container that is not in the mesh, on its networks


def compose_command() -> list[str]:
    """Compose v2 if it is there, else docker-compose. Raises: DemoError."""
    if shutil.which("docker") is None:
        raise DemoError(
            "no docker found: https://docs.docker.com/engine/install, or pylis demo without containers"
        )
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)  # noqa: S607
    if found.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    raise DemoError("neither docker compose nor docker-compose is installed")


@dataclass
class Probe:
    """`python -m demo.probe` in a container: one line asked, one answered."""

    container: str
    _process: subprocess.Popen[str] | None = None

    def ask(self, **request: Any) -> Outcome:
        """Raises: DemoError; the next request starts it anew, for a container may have restarted."""
        process, line = self._started(), ""
        if process.stdin is not None and process.stdout is not None:
            with contextlib.suppress(OSError):
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
        try:
            return Outcome(**json.loads(line))
        except ValueError as error:  # nothing, half a line, or docker's own words instead of the probe's
            self.close()
            raise DemoError(f"the probe in {self.container} has ended: {line.strip()[:200]}") from error

    def close(self) -> None:
        if self._process is None:
            return
        pipes: list[IO[str] | None] = [self._process.stdin, self._process.stdout]
        for pipe in pipes:
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait(10)
        self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                ["docker", "exec", "-i", self.container, "python3", "-m", "demo.probe"],  # noqa: S607
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
        return self._process


@dataclass
class ContainerMesh:
    """Enter to bring it up, leave to take it down: no container, network or volume stays."""

    project: str = "pylis-demo"
    file: Path = ROOT / "docker-compose.yml"
    build: bool = True
    compose: list[str] = field(default_factory=compose_command)
    environment: dict[str, str] = field(default_factory=dict[str, str])
    overrides: tuple[Path, ...] = ()
    _probes: dict[str, Probe] = field(default_factory=dict[str, Probe])
    _minted: dict[str, str] = field(default_factory=dict[str, str])

    def __enter__(self) -> ContainerMesh:
        _find_engine()
        try:
            self.run_compose("up", "-d", *(["--build"] if self.build else []), seconds=UP_SECONDS)
            self._start_outside()
            self.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def end_probes(self) -> None:
        """The next request of each starts it anew: after all containers restarted none can still run."""
        for probe in self._probes.values():
            probe.close()
        self._probes.clear()

    def close(self) -> None:
        self.end_probes()
        docker("rm", "-f", "-v", self._outside, quiet=True)
        self.run_compose("down", "-v", "--remove-orphans", seconds=120)

    def run_compose(self, *arguments: str, seconds: float = 120) -> str:
        """Raises: DemoError."""
        files = [part for path in (self.file, *self.overrides) for part in ("-f", str(path))]
        command = [*self.compose, "-p", self.project, *files, *arguments]
        env = {**os.environ, **self.environment}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=env,
            cwd=self.file.parent,
        )
        if done.returncode != 0:
            raise DemoError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
        return done.stdout

    def container(self, service: str, number: int = 1) -> str:
        """The id of a service's container. Raises: DemoError."""
        return container_of(self.project, service, number)

    def sidecar(self, service: str, number: int = 1) -> str:
        """The id of its sidecar. Raises: DemoError."""
        return sidecar_of(self.project, service, number)

    def log(self, service: str) -> list[dict[str, Any]]:
        """What its sidecar wrote, a JSON object a line."""
        lines: list[dict[str, Any]] = []
        for line in docker("logs", self.sidecar(service)).splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return lines

    def probe(self, service: str) -> Probe:
        container = self._outside if service == OUTSIDE else self.container(service)
        if container not in self._probes:
            self._probes[container] = Probe(container)
        return self._probes[container]

    def pylis(self, *arguments: str, input_text: str | None = None) -> str:
        """A command of the administrator's. Raises: DemoError."""
        return docker("exec", "-i", self._outside, "pylis", *arguments, input_text=input_text)

    def credentials(self, workload: str, ttl: str = "1h") -> str:
        """A directory outside with an SVID for `namespace/account`: what a thief would have stolen."""
        key = f"{workload}@{ttl}"
        if key not in self._minted:
            directory = f"/tmp/{key.replace('/', '-')}"  # noqa: S108 - in a container of its own
            self.pylis("svid", "mint", "--spiffe-id", _id(workload), "--ttl", ttl, "--out", directory)
            self._minted[key] = directory
        return self._minted[key]

    def foreign_credentials(self, workload: str) -> str:
        """The right SPIFFE ID, signed by an authority of the same name that is not ours."""
        directory = "/tmp/foreign"  # noqa: S108 - in a container of its own
        docker(
            "exec", "-e", "PYLIS_KUBECONFIG=", self._outside, "pylis", "svid", "mint", "--spiffe-id", _id(workload),
            "--out", directory, "--state-dir", "/tmp/foreign-state",  # noqa: S108
        )  # fmt: skip
        return directory

    def check_alive(self) -> None:
        """Raises: DemoError."""
        self.container("control-plane")

    def follow(self, service: str) -> None:
        """Its log on standard output, until interrupted."""
        subprocess.run(["docker", "logs", "-f", "--tail", "20", self.container(service)], check=False)  # noqa: S607

    def wait_ready(self) -> None:
        """Until every sidecar holds its configuration and every service listens. Raises: DemoError."""
        end = time.monotonic() + READY_SECONDS
        while True:
            try:
                proxies: list[dict[str, Any]] = json.loads(self.pylis("proxy", "status", "-o", "json"))[
                    "items"
                ]
                apps = docker(
                    "ps", "-q", "--filter", f"label=com.docker.compose.project={self.project}",
                    "--filter", "label=pylis.io/inject=true",
                ).split()  # fmt: skip
                healthy = docker("ps", "-q", "--filter", "health=healthy").split()
                synced = sum(p["state"] == "synced" for p in proxies)
                if apps and len(apps) == synced and set(apps) <= set(healthy):
                    return
            except (DemoError, ValueError, KeyError) as error:
                if time.monotonic() > end:
                    raise DemoError(f"the sidecars did not become ready: {error}") from error
            if time.monotonic() > end:
                raise DemoError("the sidecars did not become ready in time")
            time.sleep(0.2)

    @property
    def _outside(self) -> str:
        return f"{self.project}-{OUTSIDE}"

    def _start_outside(self) -> None:
        image = docker("inspect", "-f", "{{.Config.Image}}", self.container("control-plane")).strip()
        docker(
            "run", "-d", "--name", self._outside, "--network", f"{self.project}_control", "--tmpfs", "/tmp",  # noqa: S108
            "-v", f"{self.project}_data:/var/lib/pylis:ro", "--entrypoint", "sleep", "--no-healthcheck", image, "1d",
        )  # fmt: skip
        docker("network", "connect", f"{self.project}_shop", self._outside)


def container_of(project: str, service: str, number: int = 1) -> str:
    """The id of a service's container in a compose project. Raises: DemoError when none runs."""
    found = docker(
        "ps", "-q", "--no-trunc", "--filter", f"label=com.docker.compose.project={project}",
        "--filter", f"label=com.docker.compose.service={service}",
        "--filter", f"label=com.docker.compose.container-number={number}",
    ).split()  # fmt: skip
    if not found:
        raise DemoError(f"no container of {service} runs")
    return found[0]


def sidecar_of(project: str, service: str, number: int = 1) -> str:
    """The id of its sidecar. Raises: DemoError when none runs."""
    app = container_of(project, service, number)
    found = docker("ps", "-q", "--filter", f"label={SIDECAR_OF}={app}").split()
    if not found:
        raise DemoError(f"no sidecar of {service} runs")
    return found[0]


def docker(*arguments: str, input_text: str | None = None, quiet: bool = False) -> str:
    """Raises: DemoError, unless `quiet`."""
    done = subprocess.run(
        ["docker", *arguments], input=input_text, capture_output=True, text=True, timeout=120, check=False,  # noqa: S607
    )  # fmt: skip
    if done.returncode != 0 and not quiet:
        raise DemoError(f"docker {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _find_engine() -> None:
    """Before compose is asked, which answers with its own traceback. Raises: DemoError."""
    command = ["docker", "version", "-f", "{{.Server.Version}}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["docker version says nothing"])[-1]
        raise DemoError(
            f"{said}\n  start the engine (systemctl start docker), or name another by DOCKER_HOST;"
            " pylis demo needs none"
        )


def _id(workload: str) -> str:
    namespace, _, account = workload.partition("/")
    return f"spiffe://shop.example/ns/{namespace}/sa/{account}"
