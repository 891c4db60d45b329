"""What a container reaches, and how: replicas of a TCP service, one that speaks first, what is outside the mesh."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from demo.client import Outcome
from demo.containers import OUTSIDE, ContainerMesh, Probe, docker
from tests.docker import labelled
from tests.docker.waiting import address_of, until

GREETER = """
import socket
with socket.create_server(("0.0.0.0", 2525)) as server:
    while True:
        one, _ = server.accept()
        with one:
            one.sendall(b"220 ready\\r\\n")
            one.recv(100)
"""
LISTEN = """
import socket, sys, time
host, port = sys.argv[1].split(":")
began = time.monotonic()
try:
    with socket.create_connection((host, int(port)), 3) as one:
        said = one.recv(100).decode().strip()
except OSError as error:
    said = type(error).__name__
print(f"{time.monotonic() - began:.1f} {said}")
"""
POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: greeter, namespace: pay}
spec:
  selector: {matchLabels: {app: greeter}}
  rules: [{from: [{source: {serviceAccounts: [payments]}}]}]
"""
WEB = ("-m", "demo.services.web", "--host", "0.0.0.0", "--port", "8080", "--name")


def network(mesh: ContainerMesh) -> str:
    return f"{mesh.project}_shop"


def test_replicas_of_a_tcp_service_share_its_callers_whatever_address_they_call(mesh: ContainerMesh) -> None:
    """Each has the address that Docker's DNS gives: a call to any of them is a call to the service."""
    replicas = (1, 2, 3)
    mesh.run_compose("up", "-d", "--no-recreate", "--scale", "ledger=3")
    try:
        until(lambda: len({mesh.sidecar("ledger", n) for n in replicas}) == 3, "three sidecars")
        mesh.wait_ready()
        for number in replicas:
            where = f"{address_of(mesh.container('ledger', number), network(mesh))}:7000"
            until(lambda: booked(mesh, "payments", where), f"replica {number} answers payments")  # noqa: B023
            assert not booked(mesh, "intruder", where)
            assert not booked(mesh, OUTSIDE, where)
        assert [booked(mesh, "payments", "ledger.pay:7000") for _ in range(6)] == [True] * 6
        logs = [["logs", mesh.sidecar("ledger", number)] for number in replicas]
        # nine calls were spread over them, whatever the address that was called
        until(
            lambda: sum(docker(*one).count("/ns/pay/sa/payments") for one in logs) >= 9,
            "who called is logged",
        )
        assert all("/ns/pay/sa/payments" in docker(*one) for one in logs)
    finally:
        mesh.run_compose("up", "-d", "--no-recreate", "--scale", "ledger=1")
    mesh.wait_ready()
    until(lambda: booked(mesh, "payments", "ledger.pay:7000"), "the one that is left answers")


def booked(mesh: ContainerMesh, caller: str, where: str) -> bool:
    return "booked" in mesh.probe(caller).ask(how="tcp", address=where).detail


def test_a_service_that_speaks_first_is_not_waited_for(mesh: ContainerMesh) -> None:
    """Nothing looks at a caller's first bytes, which would never come: whom it may greet hears it at once."""
    mesh.pylis("apply", "-f", "-", input_text=POLICY)
    try:
        with labelled.run(mesh, "greeter", "pay", "tcp:2525", "-c", GREETER) as name:
            where = f"{address_of(name, network(mesh))}:2525"

            def heard(caller: str) -> tuple[float, str]:
                said = docker("exec", mesh.container(caller), "python3", "-c", LISTEN, where)
                seconds, _, banner = said.strip().partition(" ")
                return float(seconds), banner

            until(lambda: heard("payments")[1] == "220 ready", "payments is greeted")
            assert min(heard("payments")[0] for _ in range(3)) < 1
            assert "220" not in heard("intruder")[1]
            stranger = docker("exec", f"{mesh.project}-{OUTSIDE}", "python3", "-c", LISTEN, where)
            assert "220" not in stranger
    finally:
        mesh.pylis("delete", "authorizationpolicy", "greeter", "-n", "pay")


def test_what_is_outside_the_mesh_is_reached_where_that_is_allowed_and_never_inside_its_networks(
    mesh: ContainerMesh,
) -> None:
    """ALLOW_ANY passes on what leaves the mesh's networks; inside them nobody is called in plain text."""
    with (
        elsewhere() as outside,
        labelled.run(mesh, "roamer", "other", "http:8080", *WEB, "roamer", outbound="ALLOW_ANY") as roamer,
        a_stranger(mesh) as stranger,
    ):
        inside = f"{address_of(stranger, network(mesh))}:8080"
        until(
            lambda: calls(mesh.probe(OUTSIDE), inside) == "allow", "the stranger serves whoever is in no mesh"
        )
        probe = Probe(roamer)
        try:
            until(lambda: calls(probe, outside) == "allow", "what is elsewhere is reached")
            assert calls(probe, inside) != "allow"
        finally:
            probe.close()
        assert calls(mesh.probe("frontend"), outside) != "allow"  # REGISTRY_ONLY
        assert calls(mesh.probe("frontend"), inside) != "allow"


def calls(probe: Probe, address: str) -> str:
    outcome: Outcome = probe.ask(how="http", address=address, method="GET", path="/")
    return outcome.actual


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def elsewhere() -> Iterator[str]:
    """A server of this machine, at its address in a network that no container of the mesh is in."""
    gateway = docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}").strip()
    with ThreadingHTTPServer((gateway, 0), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"{gateway}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def a_stranger(mesh: ContainerMesh) -> Iterator[str]:
    """In the mesh's network, and in no mesh."""
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("catalog")).strip()
    name = f"{mesh.project}-stranger"
    docker(
        "run", "-d", "--name", name, "--network", f"{mesh.project}_shop", "--no-healthcheck", "--entrypoint", "python3",
        image, *WEB, "stranger",
    )  # fmt: skip
    try:
        yield name
    finally:
        docker("rm", "-f", "-v", name)
