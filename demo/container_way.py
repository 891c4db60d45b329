"""The demo's requests to containers: from a workload's own, all intercepted; or from one outside, around a sidecar.

A service is found by the network, so an unknown one is asked for at a known address.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from demo.client import Outcome
from demo.containers import OUTSIDE, ContainerMesh
from demo.expectation import Expectation, load
from demo.run import STAND_INS

_PORTS = {"http-admin": 9090}
_TIGHTER = {"ledger-intruder": "out-of-scope"}


def expectations() -> list[Expectation]:
    """The same table. A TCP service that a caller may not reach ends in its own sidecar already."""
    return [replace(e, rule=_TIGHTER.get(e.id, e.rule)) for e in load()]


class ContainerWay:
    """A `run.Way`."""

    def __init__(self, mesh: ContainerMesh) -> None:
        self._mesh = mesh

    def send(self, e: Expectation, keep: str = "") -> Outcome:
        host = e.address.replace(e.service, STAND_INS.get(e.service, e.service), 1).partition(":")[0]
        asked: dict[str, Any] = {
            "how": "http", "address": f"{host}:{_PORTS.get(e.port, 8080)}", "host": e.host or e.address,
            "method": e.method, "path": e.path, "headers": e.headers, "keep": keep,
        }  # fmt: skip
        if e.is_through_sidecar:
            return self._mesh.probe(e.caller).ask(**asked)
        return self._mesh.probe(OUTSIDE).ask(credentials=self.stolen(e.source), **asked)

    def grpc(self, e: Expectation) -> Outcome:
        return self._mesh.probe(e.caller).ask(how="grpc", address="pricing.shop:9000", path=e.path)

    def tcp(self, e: Expectation) -> Outcome:
        return self._mesh.probe(e.caller).ask(how="tcp", address="ledger.pay:7000")

    def knock(self, e: Expectation, credentials: str = "", roots: str = "") -> Outcome:
        return self._mesh.probe(OUTSIDE).ask(
            how="http", address=e.address, method=e.method, path=e.path,
            credentials=credentials, roots=roots and f"{roots}/bundle.pem",
        )  # fmt: skip

    def ask_xds(self, e: Expectation) -> Outcome:
        proxies = json.loads(self._mesh.pylis("proxy", "status", "-o", "json"))["items"]
        node = next(one["name"] for one in proxies if e.service in one["name"])
        return self._mesh.probe(OUTSIDE).ask(
            how="xds", address="control-plane:15012", credentials=self.stolen(e.source), node=node
        )

    def stolen(self, workload: str, ttl: str = "1h") -> str:
        return self._mesh.credentials(workload, ttl)

    def forged(self, workload: str) -> str:
        return self._mesh.foreign_credentials(workload)

    def log(self, service: str) -> list[dict[str, Any]]:
        return self._mesh.log(service)

    def pylis(self, *arguments: str, input_text: str | None = None) -> str:
        return self._mesh.pylis(*arguments, input_text=input_text)

    def check_alive(self) -> None:
        self._mesh.check_alive()
