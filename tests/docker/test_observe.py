"""A project that exists is meshed without an outage: observed, judged, then enforced a service at a time."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.client import Outcome
from demo.containers import Probe, docker
from demo.mesh import DemoError
from tests.docker.compose_project import Project, images, project
from tests.docker.waiting import until

DRAINED = 6.5  # seconds; a listener that is replaced ends what is open after 5
NAMESPACE = "pylis-test-growing"
POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: catalog, namespace: pylis-test-growing}
spec:
  selector: {matchLabels: {app: catalog}}
  rules: [{from: [{source: {serviceAccounts: [front]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ledger, namespace: pylis-test-growing}
spec:
  selector: {matchLabels: {app: ledger}}
  rules: [{from: [{source: {serviceAccounts: [front]}}]}]
"""
TALK = """
import socket, sys
host, port = sys.argv[1].split(":")
with socket.create_connection((host, int(port)), 10) as talk:
    for line in sys.stdin:
        talk.sendall(line.encode())
        print(talk.recv(100).decode().strip(), flush=True)
"""


class Talk:
    """One raw TCP connection out of a container that stays open."""

    def __init__(self, container: str, address: str) -> None:
        self._process = subprocess.Popen(
            ["docker", "exec", "-i", container, "python3", "-c", TALK, address], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def say(self) -> str:
        """The answer; "" when the connection is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write("10 EUR\n")
            self._process.stdin.flush()
        except OSError:
            return ""
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.kill()
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextmanager
def growing(tmp_path: Path) -> Iterator[Project]:
    with project(tmp_path, "growing") as app:
        app.init()
        app.compose("up", "-d")
        until(lambda: reads(app, "front").actual == "allow", "front reads the catalog by mutual TLS")
        until(lambda: reads(app, "worker").actual == "allow", "worker reads the catalog by mutual TLS")
        yield app


def reads(app: Project, caller: str) -> Outcome:
    probe = Probe(app.container(caller))
    try:
        return probe.ask(how="http", address="catalog:8080", method="GET", path="/items?page=1")
    finally:
        probe.close()


def books(app: Project, caller: str) -> str:
    talk = Talk(app.container(caller), "ledger:7000")
    try:
        return talk.say()
    finally:
        talk.close()


def stranger_reads(app: Project) -> str:
    """From a container that is not in the mesh, in plain text."""
    call = "import urllib.request as r; print(r.urlopen('http://catalog:8080/items', timeout=5).status)"
    try:
        return docker(
            "run", "--rm", "--network", f"{app.name}_default", "--no-healthcheck", "--entrypoint", "python3",
            images()["PYLIS_IMAGE"], "-c", call,
        ).strip()  # fmt: skip
    except DemoError:
        return "refused"


def would_be_refused(app: Project) -> set[tuple[str, str, str, str]]:
    """(who, where, what, rule)"""
    found = json.loads(app.pylis("observed", "-p", app.name, "-o", "json"))["refusals"]
    return {
        (one["caller"].rpartition("/")[2].partition(" from ")[0], f"{one['service']}:{one['port']}", one["what"], one["rule"])
        for one in found
    }  # fmt: skip


def test_from_observe_to_enforce_without_an_outage(tmp_path: Path) -> None:
    with growing(tmp_path) as app:
        app.control("apply", "-f", "-", input_text=POLICIES)
        kept = Probe(app.container("front"))
        front, worker = (Talk(app.container(one), "ledger:7000") for one in ("front", "worker"))

        def front_reads() -> Outcome:
            return kept.ask(how="http", address="catalog:8080", method="GET", path="/items", keep="one")

        def all_goes_on(seconds: float) -> None:
            """Each of the open connections is used all the time; none of them may end."""
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                outcome = front_reads()
                assert (outcome.actual, outcome.local_port) == ("allow", first.local_port)
                assert front.say().startswith("booked")
                assert worker.say().startswith("booked")

        try:
            first = front_reads()
            # nothing is refused, and all that would be is said: who, what, by which rule
            until(
                lambda: wanted <= would_be_refused(app) if ask(app) else False,
                "it is said who would be refused",
            )
            assert not any(who == "front" for who, *_ in would_be_refused(app))
            all_goes_on(0.5)

            # one service is enforced, and only that one refuses
            assert "catalog is enforced" in app.control("enforce", "catalog", "-n", NAMESPACE)
            until(lambda: reads(app, "worker").actual != "allow", "worker is refused by the catalog")
            assert stranger_reads(app) == "refused"
            assert books(app, "worker").startswith("booked")
            all_goes_on(DRAINED)

            # the other one: raw TCP that is open and allowed goes on
            app.control("enforce", "ledger", "-n", NAMESPACE)
            until(lambda: books(app, "worker") == "", "worker is refused by the ledger")
            end = time.monotonic() + DRAINED
            while time.monotonic() < end:
                assert front.say().startswith("booked")
                assert front_reads().local_port == first.local_port

            # an app that starts anew is enforced from its first moment, and there is a way back
            docker("restart", "-t", "1", app.container("catalog"))
            until(lambda: reads(app, "front").actual == "allow", "the catalog is back")
            assert reads(app, "worker").actual != "allow"
            app.control("enforce", "catalog", "-n", NAMESPACE, "--undo")
            until(lambda: reads(app, "worker").actual == "allow", "the catalog is observed again")
        finally:
            kept.close()
            front.close()
            worker.close()


wanted = {
    ("worker", f"catalog.{NAMESPACE}:8080", "GET /items", "default-deny:pylis-test-growing/catalog[0]:principal"),
    ("worker", f"ledger.{NAMESPACE}:7000", "", "default-deny:pylis-test-growing/ledger[0]:principal"),
    ("plain text", f"catalog.{NAMESPACE}:8080", "GET /items", "mtls-strict"),
}  # fmt: skip


def ask(app: Project) -> bool:
    """Each of those who would be refused asks, and is answered."""
    assert reads(app, "worker").actual == "allow"
    assert books(app, "worker").startswith("booked")
    assert stranger_reads(app) == "200"
    assert reads(app, "front").actual == "allow"
    return True
