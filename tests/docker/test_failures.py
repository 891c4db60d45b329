"""What breaks, and what then holds: never open where policy says closed, the data plane goes on, and back without hands.

While each test runs, somebody outside the mesh asks for the catalog without end, by name and by address.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.client import Outcome
from demo.containers import OUTSIDE, ContainerMesh, Probe, docker
from demo.mesh import DemoError
from tests.docker import labelled, waiting
from tests.docker.compose_project import images
from tests.docker.waiting import until

CATALOG = "catalog.shop:8080"
DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: while-cut-off, namespace: shop}
spec:
  selector: {matchLabels: {app: catalog}}
  action: DENY
  rules: [{to: [{operation: {paths: ["/items/cut-off"]}}]}]
"""


# one connection, until a line is read
ASK_ON = f"""
import http.client, select, sys
one = http.client.HTTPConnection(sys.argv[1], timeout=20)
one.connect()
port = one.sock.getsockname()[1]
while not select.select([sys.stdin], [], [], 0.05)[0]:
    one.request("GET", "/items", headers={{"Host": "{CATALOG}"}})
    answer = one.getresponse()
    answer.read()
    print(answer.status, flush=True)
    if one.sock is None or one.sock.getsockname()[1] != port:
        sys.exit("another connection")
"""
PLAIN = (
    "plain",
    "other",
    "http:8080",
    "-m",
    "demo.services.web",
    "--name",
    "plain",
    "--host",
    "0.0.0.0",
    "--port",
    "8080",
)
SERVICES = ("catalog", "orders", "pricing", "payments", "ledger", "frontend", "intruder")


class Asking:
    """Asks again and again in a thread of its own, in a process of its own; `answers` are what came of it."""

    def __init__(self, container: str, addresses: list[str]) -> None:
        self._probe = Probe(container)
        self._addresses = addresses
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.answers: list[Outcome] = []

    def __enter__(self) -> Asking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._probe.close()

    @property
    def heard(self) -> set[str]:
        return {answer.actual for answer in self.answers}

    def _run(self) -> None:
        while not self._end.is_set():
            for address in self._addresses:
                try:
                    self.answers.append(
                        self._probe.ask(
                            how="http", address=address, host=CATALOG, method="GET", path="/items"
                        )
                    )
                except DemoError:  # the engine is away
                    self._end.wait(0.2)
            self._end.wait(0.05)


def address_of(mesh: ContainerMesh, service: str) -> str:
    return waiting.address_of(mesh.container(service), f"{mesh.project}_shop")


@pytest.fixture(autouse=True)
def closed(mesh: ContainerMesh) -> Iterator[None]:
    """Whatever breaks in a test: nobody outside is answered, at no time."""
    with Asking(f"{mesh.project}-{OUTSIDE}", [CATALOG, f"{address_of(mesh, 'catalog')}:8080"]) as asking:
        yield
    assert asking.heard == {"refused"}


@contextmanager
def undisturbed(mesh: ContainerMesh) -> Iterator[None]:
    """Traffic of the mesh: every request is answered as policy says."""
    with Asking(mesh.container("frontend"), [CATALOG]) as asking:
        yield
    assert [answer for answer in asking.answers if answer.actual != "allow"] == []
    assert asking.answers


def frontend_reads(mesh: ContainerMesh, path: str = "/items") -> str:
    return mesh.probe("frontend").ask(how="http", address=CATALOG, method="GET", path=path).actual


def crash(container: str) -> Callable[[], bool]:
    """As by a fault of its own: the engine then does what its restart policy says. Is it in its next life, and well?"""
    pid, started = docker("inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}}", container).split()
    os.kill(int(pid), signal.SIGKILL)

    def is_back() -> bool:
        state = json.loads(docker("inspect", "-f", "{{json .State}}", container))
        return state["StartedAt"] != started and state["Health"]["Status"] == "healthy"

    return is_back


@pytest.mark.parametrize("end", ["restarted", "crashed"])
def test_an_app_that_goes_and_comes_is_never_open(mesh: ContainerMesh, end: str) -> None:
    """Each life has a new namespace without rules: the gate holds it back until they are there."""
    app, old = mesh.container("catalog"), mesh.sidecar("catalog")
    if end == "crashed":
        crash(app)
    else:
        docker("restart", "-t", "1", app)
    until(
        lambda: mesh.sidecar("catalog") != old and frontend_reads(mesh) == "allow",
        "catalog serves again, behind a new sidecar",
    )


def test_a_killed_sidecar_closes_and_comes_back(mesh: ContainerMesh) -> None:
    docker("kill", mesh.sidecar("catalog"))
    until(lambda: frontend_reads(mesh) == "allow", "a new sidecar serves")


def test_a_crashed_agent_finds_its_sidecars_again(mesh: ContainerMesh) -> None:
    apps = ("catalog", "orders", "frontend")
    before = [mesh.sidecar(one) for one in apps]
    with undisturbed(mesh):
        until(crash(mesh.container("agent")), "the agent is back")
    assert [mesh.sidecar(one) for one in apps] == before


def test_without_the_agent_the_mesh_goes_on_and_a_restarted_app_stays_closed(mesh: ContainerMesh) -> None:
    agent = mesh.container("agent")
    docker("kill", agent)
    try:
        with undisturbed(mesh):
            docker("restart", "-t", "1", mesh.container("orders"))
            for who in (OUTSIDE, "frontend"):
                asked = mesh.probe(who).ask(
                    how="http", address="orders.shop:8080", method="GET", path="/orders"
                )
                assert asked.actual != "allow"
    finally:
        docker("start", agent)

    def orders() -> bool:
        asked = mesh.probe("frontend").ask(
            how="http", address="orders.shop:8080", method="GET", path="/orders"
        )
        return asked.actual == "allow"

    until(orders, "the agent meshed orders again")


def test_a_crashed_control_plane_is_not_noticed_by_traffic(mesh: ContainerMesh) -> None:
    with undisturbed(mesh):
        until(crash(mesh.container("control-plane")), "it is back")
        mesh.wait_ready()


def test_a_new_image_of_the_control_plane_fails_no_request(mesh: ContainerMesh) -> None:
    """To another image and back, as a user upgrades: compose makes the container anew."""
    build = f"FROM {images()['PYLIS_IMAGE']}\nLABEL version=next\n"
    docker("build", "-q", "-t", "pylis-test-next", "-", input_text=build)
    old = mesh.container("control-plane")
    own = dict(mesh.environment)
    with undisturbed(mesh):
        for image in ("pylis-test-next:latest", own["PYLIS_IMAGE"]):
            mesh.environment["PYLIS_IMAGE"] = image
            mesh.run_compose("up", "-d", "--no-deps", "control-plane")
            assert (
                docker("inspect", "-f", "{{.Config.Image}}", mesh.container("control-plane")).strip() == image
            )
            until(lambda: _is_healthy(mesh.container("control-plane")), f"{image} is healthy")
            mesh.wait_ready()
    assert mesh.container("control-plane") != old
    mesh.pylis("apply", "-f", "-", input_text=DENY)
    until(lambda: frontend_reads(mesh, "/items/cut-off") == "deny", "it tells the sidecars what is new")
    mesh.pylis("delete", "authorizationpolicy", "while-cut-off", "-n", "shop")


def test_cut_off_from_the_control_plane_the_mesh_goes_on_and_catches_up(mesh: ContainerMesh) -> None:
    """Sidecars reach it through their agent, so one cut cuts them all."""
    agent, network = mesh.container("agent"), f"{mesh.project}_control"
    docker("network", "disconnect", network, agent)
    try:
        with undisturbed(mesh):
            mesh.pylis("apply", "-f", "-", input_text=DENY)
            docker(
                "restart", "-t", "1", mesh.container("orders")
            )  # stays closed: nobody can tell its sidecar
            asked = mesh.probe(OUTSIDE).ask(
                how="http", address="orders.shop:8080", method="GET", path="/orders"
            )
            assert asked.actual == "refused"
            assert frontend_reads(mesh, "/items/cut-off") == "allow"  # what was in force stays in force
    finally:
        docker("network", "connect", network, agent)
    until(lambda: frontend_reads(mesh, "/items/cut-off") == "deny", "what changed meanwhile is in force")
    mesh.pylis("delete", "authorizationpolicy", "while-cut-off", "-n", "shop")
    mesh.wait_ready()
    for one in map(
        mesh.container, ("agent", "control-plane")
    ):  # compose starts nothing beside one it calls unhealthy
        until(lambda: _is_healthy(one), f"{one} is healthy again")  # noqa: B023 - asked here only


def test_scaled_services_are_meshed_one_by_one(mesh: ContainerMesh) -> None:
    mesh.run_compose("up", "-d", "--no-recreate", "--scale", "catalog=3")
    try:
        until(lambda: len({mesh.sidecar("catalog", n) for n in (1, 2, 3)}) == 3, "three sidecars")
        mesh.wait_ready()
        assert frontend_reads(mesh) == "allow"
    finally:
        mesh.run_compose("up", "-d", "--no-recreate", "--scale", "catalog=1")
    mesh.wait_ready()


def test_a_container_with_the_label_is_meshed_by_plain_docker_run(mesh: ContainerMesh) -> None:
    with labelled.run(mesh, *PLAIN) as name:
        outcome = mesh.probe(OUTSIDE).ask(how="http", address=f"{name}:8080", method="GET", path="/")
        assert outcome.actual == "refused"


def test_all_at_once(mesh: ContainerMesh) -> None:
    """Apps, agent, control plane and sidecars crash in the same moment."""
    everything = docker("ps", "-q", "--filter", f"label=com.docker.compose.project={mesh.project}").split()
    sidecars = docker("ps", "-q", "--filter", f"label=pylis.io/project={mesh.project}").split()
    pids = docker("inspect", "-f", "{{.State.Pid}}", *everything, *sidecars).split()
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    until(lambda: frontend_reads(mesh) == "allow", "everything is back")
    mesh.wait_ready()


def test_an_engine_that_restarts_brings_the_mesh_back(mesh: ContainerMesh) -> None:
    """Every container gets a new namespace, or with live-restore keeps its own: closed either way."""
    restart_engine()
    mesh.end_probes()
    docker("start", f"{mesh.project}-{OUTSIDE}")  # the tests' own: nothing restarts it
    until(lambda: frontend_reads(mesh) == "allow", "everything is back")
    mesh.wait_ready()


def test_an_engine_with_live_restore_restarts_and_no_request_notices(mesh: ContainerMesh) -> None:
    """The containers go on without their engine; the agent, whose socket it was, is started anew with the new one."""
    before = lives(mesh)
    with live_restore(), on_its_own(mesh, "frontend", f"{address_of(mesh, 'catalog')}:8080") as answers:
        restart_engine()
        mesh.end_probes()
        mesh.wait_ready()
        with labelled.run(mesh, *PLAIN):  # the agent hears of what starts from now on
            pass
        assert lives(mesh) == before
    assert set(answers) == {"200"}


@contextmanager
def live_restore() -> Iterator[None]:
    """The engine's own setting, by its file, which is as it was afterwards."""
    file = Path("/etc/docker/daemon.json")
    before = file.read_bytes() if file.exists() else None
    known = json.loads(before or b"{}")
    file.parent.mkdir(exist_ok=True)

    def set_to(wanted: bool) -> None:
        file.write_text(json.dumps({**known, "live-restore": wanted}))
        os.kill(int(Path("/var/run/docker.pid").read_text()), signal.SIGHUP)
        shown = ["info", "-f", "{{.LiveRestoreEnabled}}"]
        until(lambda: docker(*shown).strip() == str(wanted).lower(), "the engine's setting")

    try:
        set_to(True)
        yield
    finally:
        set_to(bool(known.get("live-restore")))  # a key that is left out is not read as its default
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)


def lives(mesh: ContainerMesh) -> dict[str, str]:
    """Of apps and sidecars: container → when it was started."""
    apps = [mesh.container(service) for service in SERVICES]
    each = [*apps, *(mesh.sidecar(service) for service in SERVICES)]
    return {one: docker("inspect", "-f", "{{.State.StartedAt}}", one).strip() for one in each}


@contextmanager
def on_its_own(mesh: ContainerMesh, service: str, address: str) -> Iterator[list[str]]:
    """Statuses of requests over one connection out of a service's namespace, which need no engine; complete at the end."""
    pid = docker("inspect", "-f", "{{.State.Pid}}", mesh.container(service)).strip()
    command = ["nsenter", "-t", pid, "-n", sys.executable, "-c", ASK_ON, address]
    answers: list[str] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        try:
            yield answers
        finally:
            answers += asking.communicate("\n", timeout=30)[0].split()
    assert asking.returncode == 0
    assert len(answers) > 10


def restart_engine() -> None:
    """The one behind the socket, and no other: with the arguments, environment and log that it has."""
    pid = int(Path("/var/run/docker.pid").read_text())
    proc = Path(f"/proc/{pid}")
    command = (proc / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    assert Path(os.fsdecode(command[0])).name == "dockerd", command
    environment = dict(
        one.split(b"=", 1) for one in (proc / "environ").read_bytes().split(b"\0") if b"=" in one
    )
    output, directory = (proc / "fd/1").readlink(), (proc / "cwd").readlink()
    serviced = "docker.service" in (proc / "cgroup").read_text()
    if serviced:
        subprocess.run(["systemctl", "restart", "docker"], check=True)
    else:
        os.kill(pid, signal.SIGTERM)
        until(lambda: not proc.exists(), "the engine stops")
        with (output if output.is_file() else Path(os.devnull)).open("ab") as log:
            subprocess.run(
                [b"setsid", b"--fork", *command], env=environment, cwd=directory, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, check=True,
            )  # fmt: skip
    until(lambda: bool(docker("version", "-f", "{{.Server.Version}}")), "the engine is back")


def _is_healthy(container: str) -> bool:
    return docker("inspect", "-f", "{{.State.Health.Status}}", container).strip() == "healthy"
