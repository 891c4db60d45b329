"""The demo's requests to processes of this machine: through a workload's HTTP proxy, or to its sidecar's port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from demo.client import Http, Outcome, log_lines
from demo.expectation import Expectation
from demo.mesh import DemoMesh
from demo.probe import answer


class LocalWay:
    """A `run.Way`."""

    def __init__(self, mesh: DemoMesh) -> None:
        self._mesh = mesh
        self._kept: dict[str, Http] = {}

    def send(self, e: Expectation, keep: str = "") -> Outcome:
        where: dict[str, Any] = (
            {"address": self._mesh.workload(e.source)["httpProxy"], "proxy": True}
            if e.is_through_sidecar
            else {"address": self._inbound(e), "credentials": self.stolen(e.source)}
        )
        asked = {"method": e.method, "path": e.path, "headers": e.headers, "host": e.host or e.address}
        return self._ask(how="http", keep=keep, **where, **asked)

    def grpc(self, e: Expectation) -> Outcome:
        return self._ask(how="grpc", address=self._upstream(e), path=e.path)

    def tcp(self, e: Expectation) -> Outcome:
        return self._ask(how="tcp", address=self._upstream(e))

    def knock(self, e: Expectation, credentials: str = "", roots: str = "") -> Outcome:
        return self._ask(
            how="http", address=self._inbound(e), host=e.address, method=e.method, path=e.path,
            credentials=credentials, roots=roots and f"{roots}/bundle.pem",
        )  # fmt: skip

    def ask_xds(self, e: Expectation) -> Outcome:
        return self._ask(how="xds", address=self._mesh.xds, credentials=self.stolen(e.source), node=e.to)

    def stolen(self, workload: str, ttl: str = "1h") -> str:
        return str(self._mesh.credentials(workload, ttl).directory)

    def forged(self, workload: str) -> str:
        return str(self._mesh.foreign_credentials(workload).directory)

    def log(self, service: str) -> list[dict[str, Any]]:
        placed: dict[str, Any] = self._mesh.info["workloads"]
        path = next(w["accessLog"] for name, w in placed.items() if name.endswith(f"/{service}"))
        return log_lines(Path(path))

    def pylis(self, *arguments: str, input_text: str | None = None) -> str:
        return self._mesh.pylis(*arguments, input_text=input_text)

    def check_alive(self) -> None:
        self._mesh.check_alive()

    def _ask(self, **asked: Any) -> Outcome:
        return answer(asked, self._kept)

    def _inbound(self, e: Expectation) -> str:
        inbound = self._mesh.workload(e.to)["inbound"]
        return inbound[e.port] if e.port else next(iter(inbound.values()))

    def _upstream(self, e: Expectation) -> str:
        return self._mesh.workload(e.source)["upstreams"][e.service]
