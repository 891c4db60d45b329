"""Runs every expectation of expectations.yaml against the demo mesh and says what held."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from demo.client import Credentials, Http, Outcome, ask_xds, call_grpc, connection_lines, log_line, talk_tcp
from demo.mesh import HERE, DemoError, DemoMesh

LOG_SECONDS = 5.0
EDIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Expectation:
    id: str
    source: str
    to: str
    expect: str
    rule: str
    how: str = "http"
    via: str = "direct"
    method: str = "GET"
    path: str = "/"
    port: str = ""
    host: str = ""
    headers: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Held:
    expectation: Expectation
    outcome: Outcome
    rule: str

    @property
    def ok(self) -> bool:
        # a default denial also names the nearest rule: `default-deny:<rule>:<what failed>`
        decided = self.rule == self.expectation.rule or self.rule.startswith(f"{self.expectation.rule}:")
        return self.outcome.actual == self.expectation.expect and decided

    def as_json(self) -> dict[str, Any]:
        e = self.expectation
        request = f"{e.method} {e.path}" if e.how not in ("tcp", "stolen-node") else e.how
        return {
            "id": e.id, "from": e.source, "to": e.to, "request": request, "expect": e.expect,
            "actual": self.outcome.actual, "status": self.outcome.status, "rule": self.rule, "ok": self.ok,
        }  # fmt: skip


def load(path: Path = HERE / "expectations.yaml") -> list[Expectation]:
    return [Expectation(source=item.pop("from"), **item) for item in yaml.safe_load(path.read_text())]


class Runner:
    """Sends what an expectation describes and reads the deciding rule from the other sidecar's log."""

    def __init__(self, mesh: DemoMesh) -> None:
        self._mesh = mesh
        self._live: Http | None = None
        self._how: dict[str, Callable[[Expectation], Held]] = {
            "http": self._http,
            "peer-seen": self._peer_seen,
            "grpc": self._grpc,
            "tcp": self._tcp,
            "plaintext": self._plaintext,
            "foreign-authority": self._foreign,
            "expired": self._expired,
            "stolen-node": self._stolen_node,
            "live-edit": self._live_edit,
            "live-edit-undone": self._live_edit_undone,
            "new-service": self._new_service,
            "removed-service": self._removed_service,
        }

    def run(self, expectations: list[Expectation]) -> Iterator[Held]:
        for expectation in expectations:
            yield self._held(expectation)

    def _held(self, e: Expectation) -> Held:
        """A command that fails is an expectation that does not hold, as long as the mesh is there."""
        try:
            return self._how[e.how](e)
        except DemoError as error:
            self._mesh.check_alive()
            return Held(e, Outcome("error", detail=str(error)), str(error))

    def _http(self, e: Expectation) -> Held:
        connection = self._connection(e)
        try:
            outcome = connection.send(e.method, e.path, e.headers)
        finally:
            connection.close()
        return Held(e, outcome, self._rule(e, outcome))

    def _peer_seen(self, e: Expectation) -> Held:
        """Allowed, and the application saw the verified peer, not the one the request claimed."""
        held = self._http(e)
        seen = json.loads(held.outcome.detail).get("peer", "") if held.outcome.actual == "allow" else ""
        honest = "sa/frontend" in seen and "sa/ops" not in seen
        return (
            held
            if honest
            else replace(held, outcome=replace(held.outcome, actual=f"the application saw {seen}"))
        )

    def _connection(self, e: Expectation) -> Http:
        namespace, _, name = e.to.partition("/")
        host = f"{name}.{namespace}:8080"
        if e.via == "sidecar":
            return Http(self._mesh.workload(e.source)["httpProxy"], e.host or host, proxy=True)
        address = self._inbound(e)
        return Http(address, e.host or host, context=self._mesh.credentials(e.source).context())

    def _inbound(self, e: Expectation) -> str:
        inbound = self._mesh.workload(e.to)["inbound"]
        return inbound[e.port] if e.port else next(iter(inbound.values()))

    def _log(self, e: Expectation) -> Path:
        return Path(self._mesh.workload(e.to)["accessLog"])

    def _rule(self, e: Expectation, outcome: Outcome) -> str:
        """From the destination's log; a request the caller's own sidecar stopped never got there."""
        if outcome.actual == "deny" and "pylis: this workload may call no service" in outcome.detail:
            return "out-of-scope"
        if e.to not in self._mesh.info["workloads"]:
            return "out-of-scope" if outcome.actual == "deny" else ""
        return self._wait(lambda: (log_line(self._log(e), outcome.request_id) or {}).get("rule", ""))

    def _grpc(self, e: Expectation) -> Held:
        name = e.to.partition("/")[2]
        outcome = call_grpc(self._mesh.workload(e.source)["upstreams"][name], e.path)
        return Held(e, outcome, self._rule(e, outcome))

    def _tcp(self, e: Expectation) -> Held:
        name = e.to.partition("/")[2]
        before = len(connection_lines(self._log(e)))
        outcome = talk_tcp(self._mesh.workload(e.source)["upstreams"][name])
        namespace, _, account = e.source.partition("/")
        peer = f"/ns/{namespace}/sa/{account}"

        def rule() -> str:
            lines = [
                line
                for line in connection_lines(self._log(e))[before:]
                if line.get("peer", "").endswith(peer)
            ]
            return lines[-1].get("rule", "") if lines else ""

        return Held(e, outcome, self._wait(rule))

    def _plaintext(self, e: Expectation) -> Held:
        before = len(connection_lines(self._log(e)))
        outcome = Http(self._inbound(e), "catalog.shop:8080").send(e.method, e.path)

        def rule() -> str:
            lines = connection_lines(self._log(e))[before:]
            return "mtls-strict" if any("HTTP_REQUEST" in line.get("refused", "") for line in lines) else ""

        return Held(e, outcome, self._wait(rule) if outcome.actual == "refused" else "")

    def _handshake(self, e: Expectation, who: Credentials, roots: Path) -> Held:
        before = len(connection_lines(self._log(e)))
        connection = Http(self._inbound(e), "catalog.shop:8080", context=who.context(roots))
        outcome = connection.send(e.method, e.path)
        connection.close()

        def rule() -> str:
            lines = connection_lines(self._log(e))[before:]
            return "handshake" if any("TLS_error" in line.get("refused", "") for line in lines) else ""

        return Held(e, outcome, self._wait(rule) if outcome.actual == "refused" else "")

    def _foreign(self, e: Expectation) -> Held:
        ours = self._mesh.credentials(e.source)
        return self._handshake(e, self._mesh.foreign_credentials(e.source), ours.directory / "bundle.pem")

    def _expired(self, e: Expectation) -> Held:
        who = self._mesh.credentials(e.source, "1s")
        time.sleep(2.1)  # a certificate's times are whole seconds: it has to pass for real
        return self._handshake(e, who, who.directory / "bundle.pem")

    def _stolen_node(self, e: Expectation) -> Held:
        outcome = ask_xds(self._mesh.xds, self._mesh.credentials(e.source), e.to)
        return Held(e, outcome, outcome.detail)

    def _live_edit(self, e: Expectation) -> Held:
        """One keep-alive connection: allowed, then a policy is applied, then denied, on the same connection."""
        self._live = Http(self._mesh.workload(e.source)["httpProxy"], "catalog.shop:8080", proxy=True)
        first = self._live.send(e.method, e.path)
        self._mesh.pylis("apply", "-f", "-", input_text=FREEZE)
        if first.actual != "allow":
            return Held(e, replace(first, actual=f"{first.actual} before the edit"), "")
        return self._until(e, first.local_port)

    def _live_edit_undone(self, e: Expectation) -> Held:
        self._mesh.pylis("delete", "authorizationpolicy", "freeze", "-n", "shop")
        held = self._until(e, 0)
        if self._live is not None:
            self._live.close()
        return held

    def _until(self, e: Expectation, local_port: int) -> Held:
        """Asks on the live connection until the answer is the expected one."""
        if self._live is None:
            return Held(e, Outcome("refused"), "no live connection")
        end = time.monotonic() + EDIT_SECONDS
        while True:
            outcome = self._live.send(e.method, e.path)
            if local_port and outcome.local_port != local_port:
                return Held(e, outcome, "the connection was dropped by the edit")
            if outcome.actual == e.expect or time.monotonic() > end:
                return Held(e, outcome, self._rule(e, outcome))
            time.sleep(0.002)

    def _new_service(self, e: Expectation) -> Held:
        """A service that did not exist is called as soon as it is registered (it is catalog, under another name)."""
        self._mesh.pylis("apply", "-f", "-", input_text=NEWCOMER)
        return self._newcomer(e)

    def _removed_service(self, e: Expectation) -> Held:
        self._mesh.pylis("delete", "serviceentry", "newcomer", "-n", "shop")
        return self._newcomer(e)

    def _newcomer(self, e: Expectation) -> Held:
        end = time.monotonic() + EDIT_SECONDS
        while True:
            connection = Http(self._mesh.workload(e.source)["httpProxy"], "newcomer.shop:8080", proxy=True)
            outcome = connection.send(e.method, e.path)
            connection.close()
            if outcome.actual == e.expect or time.monotonic() > end:
                break
            time.sleep(0.01)
        if outcome.actual == "deny":
            return Held(e, outcome, self._rule(e, outcome))
        path = Path(self._mesh.workload("shop/catalog")["accessLog"])
        return Held(
            e, outcome, self._wait(lambda: (log_line(path, outcome.request_id) or {}).get("rule", ""))
        )

    def _wait(self, ask: Callable[[], str]) -> str:
        """A log line is written a moment after the answer."""
        end = time.monotonic() + LOG_SECONDS
        while not (found := ask()) and time.monotonic() < end:
            time.sleep(0.01)
        return found


FREEZE = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: freeze, namespace: shop}
spec:
  selector: {matchLabels: {app: catalog}}
  action: DENY
  rules: [{to: [{operation: {paths: [/items]}}]}]
"""

NEWCOMER = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: newcomer, namespace: shop}
spec:
  hosts: [newcomer.shop]
  ports: [{number: 8080, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: catalog}}
"""
