"""Runs every expectation of expectations.yaml against the demo mesh and says what held.

A `Way` gets the requests there: `local_way` to processes of this machine, `container_way` to containers.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

from demo.client import Outcome
from demo.expectation import Expectation, Held
from demo.mesh import DemoError

LOG_SECONDS = 5.0
EDIT_SECONDS = 5.0
STAND_INS = {
    "nowhere": "catalog",
    "newcomer": "catalog",
}  # who serves a name that is, or will be, no workload's


class Way(Protocol):
    def send(self, e: Expectation, keep: str = "") -> Outcome:
        """An HTTP request as the expectation says; on a connection that is kept by name."""
        ...

    def grpc(self, e: Expectation) -> Outcome: ...

    def tcp(self, e: Expectation) -> Outcome: ...

    def knock(self, e: Expectation, credentials: str = "", roots: str = "") -> Outcome:
        """Straight to the other sidecar, in plain text or with the files of these directories."""
        ...

    def ask_xds(self, e: Expectation) -> Outcome:
        """With the caller's identity, for the configuration of the workload that is called."""
        ...

    def stolen(self, workload: str, ttl: str = "1h") -> str:
        """A directory with an SVID of `namespace/account`."""
        ...

    def forged(self, workload: str) -> str:
        """A directory with the same SPIFFE ID, signed by an authority that is not ours."""
        ...

    def log(self, service: str) -> list[dict[str, Any]]:
        """What its sidecar wrote so far, oldest first."""
        ...

    def pylis(self, *arguments: str, input_text: str | None = None) -> str: ...

    def check_alive(self) -> None: ...


class Runner:
    """Sends what an expectation describes and reads the deciding rule from the other sidecar's log."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._kept_ports: dict[str, int] = {}
        self._how: dict[str, Callable[[Expectation], Held]] = {
            "http": self._http,
            "kept": self._kept,
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
            self._way.check_alive()
            return Held(e, Outcome("error", detail=str(error)), str(error))

    def _http(self, e: Expectation) -> Held:
        outcome = self._way.send(e)
        return Held(e, outcome, self._rule(e, outcome))

    def _kept(self, e: Expectation) -> Held:
        """On one keep-alive connection, which is still the one of the first time."""
        outcome = self._way.send(e, "kept")
        if outcome.local_port != self._kept_ports.setdefault(e.to, outcome.local_port):
            return Held(e, outcome, "the connection was dropped")
        return Held(e, outcome, self._rule(e, outcome))

    def _peer_seen(self, e: Expectation) -> Held:
        """Allowed, and the application saw the verified peer, not the one the request claimed."""
        held = self._http(e)
        seen = json.loads(held.outcome.detail).get("peer", "") if held.outcome.actual == "allow" else ""
        if "sa/frontend" in seen and "sa/ops" not in seen:
            return held
        return replace(held, outcome=replace(held.outcome, actual=f"the application saw {seen}"))

    def _grpc(self, e: Expectation) -> Held:
        outcome = self._way.grpc(e)
        return Held(e, outcome, self._rule(e, outcome))

    def _tcp(self, e: Expectation) -> Held:
        before = len(self._way.log(e.service))
        outcome = self._way.tcp(e)

        def heard() -> list[dict[str, Any]]:
            return [line for line in self._way.log(e.service)[before:] if e.is_peer(line)]

        if (
            e.rule == "out-of-scope"
        ):  # its own sidecar knows of no such service: the other must have heard nothing
            return Held(e, outcome, str(heard() or "out-of-scope"))
        return Held(e, outcome, _wait(lambda: next((x.get("rule", "") for x in reversed(heard())), "")))

    def _plaintext(self, e: Expectation) -> Held:
        return self._refused(e, "HTTP_REQUEST", "mtls-strict")

    def _foreign(self, e: Expectation) -> Held:
        ours, foreign = self._way.stolen(e.source), self._way.forged(e.source)
        return self._refused(e, "TLS_error", "handshake", foreign, ours)

    def _expired(self, e: Expectation) -> Held:
        who = self._way.stolen(e.source, "1s")
        time.sleep(2.1)  # a certificate's times are whole seconds: it has to pass for real
        return self._refused(e, "TLS_error", "handshake", who, who)

    def _refused(self, e: Expectation, words: str, rule: str, credentials: str = "", roots: str = "") -> Held:
        before = len(self._way.log(e.service))
        outcome = self._way.knock(e, credentials, roots)

        def found() -> str:
            lines = self._way.log(e.service)[before:]
            return rule if any(words in line.get("refused", "") for line in lines) else ""

        return Held(e, outcome, _wait(found) if outcome.actual == "refused" else self._rule(e, outcome))

    def _stolen_node(self, e: Expectation) -> Held:
        outcome = self._way.ask_xds(e)
        return Held(e, outcome, outcome.detail)

    def _live_edit(self, e: Expectation) -> Held:
        """One keep-alive connection: allowed, then a policy is applied, then denied, on the same connection."""
        first = self._way.send(e, "live")
        self._way.pylis("apply", "-f", "-", input_text=FREEZE)
        if first.actual != "allow":
            return Held(e, replace(first, actual=f"{first.actual} before the edit"), "")
        return self._until(e, first.local_port)

    def _live_edit_undone(self, e: Expectation) -> Held:
        self._way.pylis("delete", "authorizationpolicy", "freeze", "-n", "shop")
        return self._until(e, 0)

    def _until(self, e: Expectation, local_port: int) -> Held:
        """Asks on the live connection until the answer is the expected one."""
        end = time.monotonic() + EDIT_SECONDS
        while True:
            outcome = self._way.send(e, "live")
            if local_port and outcome.local_port != local_port:
                return Held(e, outcome, "the connection was dropped by the edit")
            if outcome.actual == e.expect or time.monotonic() > end:
                return Held(e, outcome, self._rule(e, outcome))
            time.sleep(0.002)

    def _new_service(self, e: Expectation) -> Held:
        """A service that did not exist is called as soon as it is registered (it is catalog, under another name)."""
        self._way.pylis("apply", "-f", "-", input_text=NEWCOMER)
        return self._newcomer(e)

    def _removed_service(self, e: Expectation) -> Held:
        self._way.pylis("delete", "serviceentry", "newcomer", "-n", "shop")
        return self._newcomer(e)

    def _newcomer(self, e: Expectation) -> Held:
        end = time.monotonic() + EDIT_SECONDS
        while True:
            outcome = self._way.send(e)
            if outcome.actual == e.expect or time.monotonic() > end:
                return Held(e, outcome, self._rule(e, outcome))
            time.sleep(0.01)

    def _rule(self, e: Expectation, outcome: Outcome) -> str:
        """From the destination's log: what decided or, where it is only observed, what would. A request the caller's own
        sidecar stopped never got there.
        """
        if outcome.actual == "deny" and "pylis: this workload may call no service" in outcome.detail:
            return "out-of-scope"
        service = STAND_INS.get(e.service, e.service)

        def found() -> str:
            lines = [one for one in self._way.log(service) if one.get("requestId") == outcome.request_id]
            inbound = (one for one in lines if one.get("direction") == "inbound")
            return next((one.get("observedRule") or one.get("rule", "") for one in inbound), "")

        return _wait(found)


def _wait(ask: Callable[[], str]) -> str:
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
