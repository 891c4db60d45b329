"""Runs the demo's expectations against the mesh in containers: through intercepted sockets, or around a sidecar.

The same table as without containers. Two things differ, and are better: a service is found by the network, so an
unknown one is asked for at a known address; and a TCP service that a caller may not reach ends in its own sidecar.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from demo.client import Outcome
from demo.containers import OUTSIDE, ContainerMesh
from demo.mesh import DemoError
from demo.run import EDIT_SECONDS, FREEZE, LOG_SECONDS, NEWCOMER, Expectation, Held

_PORTS = {"http-admin": 9090}
_UNKNOWN = ("nowhere", "newcomer")
_TIGHTER = {"ledger-intruder": "out-of-scope"}


class ContainerRunner:
    def __init__(self, mesh: ContainerMesh) -> None:
        self._mesh = mesh
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
            e = replace(expectation, rule=_TIGHTER.get(expectation.id, expectation.rule))
            try:
                yield self._how[e.how](e)
            except DemoError as error:
                self._mesh.check_alive()
                yield Held(e, Outcome("error", detail=str(error)), str(error))

    def _http(self, e: Expectation) -> Held:
        outcome = self._send(e)
        return Held(e, outcome, self._rule(e, outcome))

    def _send(self, e: Expectation, **more: Any) -> Outcome:
        namespace, _, name = e.to.partition("/")
        host, port = f"{name}.{namespace}", _PORTS.get(e.port, 8080)
        request: dict[str, Any] = {
            "how": "http", "address": f"{'catalog.shop' if name in _UNKNOWN else host}:{port}",
            "host": e.host or f"{host}:{8080}", "method": e.method, "path": e.path, "headers": e.headers, **more,
        }  # fmt: skip
        if e.via == "sidecar" or e.how in ("live-edit", "live-edit-undone", "new-service", "removed-service"):
            return self._mesh.probe(e.source.partition("/")[2]).ask(**request)
        credentials = self._mesh.credentials(e.source)
        return self._mesh.probe(OUTSIDE).ask(**{"credentials": credentials, **request})

    def _peer_seen(self, e: Expectation) -> Held:
        held = self._http(e)
        seen = json.loads(held.outcome.detail).get("peer", "") if held.outcome.actual == "allow" else ""
        if "sa/frontend" in seen and "sa/ops" not in seen:
            return held
        return replace(held, outcome=replace(held.outcome, actual=f"the application saw {seen}"))

    def _grpc(self, e: Expectation) -> Held:
        probe = self._mesh.probe(e.source.partition("/")[2])
        outcome = probe.ask(how="grpc", address="pricing.shop:9000", path=e.path)
        return Held(e, outcome, self._rule(e, outcome))

    def _tcp(self, e: Expectation) -> Held:
        before = len(self._mesh.log("ledger"))
        outcome = self._mesh.probe(e.source.partition("/")[2]).ask(how="tcp", address="ledger.pay:7000")
        if outcome.actual == "deny":  # its own sidecar knows of no such service: the ledger's heard nothing
            heard = [line for line in self._mesh.log("ledger")[before:] if e.source in line.get("peer", "")]
            return Held(e, outcome, "out-of-scope" if not heard else str(heard))
        namespace, _, account = e.source.partition("/")

        def rule() -> str:
            lines = self._mesh.log("ledger")[before:]
            mine = [one for one in lines if one.get("peer", "").endswith(f"/ns/{namespace}/sa/{account}")]
            return mine[-1].get("rule", "") if mine else ""

        return Held(e, outcome, _wait(rule))

    def _plaintext(self, e: Expectation) -> Held:
        return self._refused(e, "HTTP_REQUEST", "mtls-strict")

    def _foreign(self, e: Expectation) -> Held:
        roots = f"{self._mesh.credentials(e.source)}/bundle.pem"
        foreign = self._mesh.foreign_credentials(e.source)
        return self._refused(e, "TLS_error", "handshake", credentials=foreign, roots=roots)

    def _expired(self, e: Expectation) -> Held:
        who = self._mesh.credentials(e.source, "1s")
        time.sleep(2.1)  # a certificate's times are whole seconds: it has to pass for real
        return self._refused(e, "TLS_error", "handshake", credentials=who)

    def _refused(self, e: Expectation, words: str, rule: str, **more: Any) -> Held:
        before = len(self._mesh.log("catalog"))
        outcome = self._mesh.probe(OUTSIDE).ask(
            how="http", address="catalog.shop:8080", method=e.method, path=e.path, **more
        )

        def found() -> str:
            lines = self._mesh.log("catalog")[before:]
            return rule if any(words in line.get("refused", "") for line in lines) else ""

        return Held(e, outcome, _wait(found) if outcome.actual == "refused" else "")

    def _stolen_node(self, e: Expectation) -> Held:
        proxies = json.loads(self._mesh.pylis("proxy", "status", "-o", "json"))["items"]
        node = next(one["name"] for one in proxies if "catalog" in one["name"])
        credentials = self._mesh.credentials(e.source)
        outcome = self._mesh.probe(OUTSIDE).ask(
            how="xds", address="control-plane:15012", credentials=credentials, node=node
        )
        return Held(e, outcome, outcome.detail)

    def _live_edit(self, e: Expectation) -> Held:
        first = self._send(e, keep="live")
        self._mesh.pylis("apply", "-f", "-", input_text=FREEZE)
        if first.actual != "allow":
            return Held(e, replace(first, actual=f"{first.actual} before the edit"), "")
        return self._until(e, first.local_port)

    def _live_edit_undone(self, e: Expectation) -> Held:
        self._mesh.pylis("delete", "authorizationpolicy", "freeze", "-n", "shop")
        return self._until(e, 0)

    def _until(self, e: Expectation, local_port: int) -> Held:
        end = time.monotonic() + EDIT_SECONDS
        while True:
            outcome = self._send(e, keep="live")
            if local_port and outcome.local_port != local_port:
                return Held(e, outcome, "the connection was dropped by the edit")
            if outcome.actual == e.expect or time.monotonic() > end:
                return Held(e, outcome, self._rule(e, outcome))
            time.sleep(0.01)

    def _new_service(self, e: Expectation) -> Held:
        self._mesh.pylis("apply", "-f", "-", input_text=NEWCOMER)
        return self._newcomer(e)

    def _removed_service(self, e: Expectation) -> Held:
        self._mesh.pylis("delete", "serviceentry", "newcomer", "-n", "shop")
        return self._newcomer(e)

    def _newcomer(self, e: Expectation) -> Held:
        end = time.monotonic() + EDIT_SECONDS
        while True:
            outcome = self._send(e)
            if outcome.actual == e.expect or time.monotonic() > end:
                return Held(e, outcome, self._rule(e, outcome))
            time.sleep(0.02)

    def _rule(self, e: Expectation, outcome: Outcome) -> str:
        if outcome.actual == "deny" and "pylis: this workload may call no service" in outcome.detail:
            return "out-of-scope"
        name = e.to.partition("/")[2]
        service = "catalog" if name in _UNKNOWN else name

        def found() -> str:
            lines = [one for one in self._mesh.log(service) if one.get("requestId") == outcome.request_id]
            return next((one.get("rule", "") for one in lines if one.get("direction") == "inbound"), "")

        return _wait(found)


def _wait(ask: Callable[[], str]) -> str:
    """A log line is written a moment after the answer."""
    end = time.monotonic() + LOG_SECONDS
    while not (found := ask()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
