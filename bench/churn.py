"""Requests through two real Envoys while policy, endpoints and the control plane change: none may be answered wrongly.

    make churn    (python -m bench.churn [--edits 300] [--endpoints 100] [--restarts 1])

wrk asks as fast as it is answered, for a path that is always allowed; beside it, connections whose every answer is
looked at, and the edited paths.
Wrong is: an allowed path that is not answered 200, at any moment; a path that the policy in force forbids, answered
200 after the proxies' acknowledgement of it; the other way round the same. No connection may be dropped either.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench import wrk
from controlplane.cli.client import Client, RefusedError, connect
from controlplane.cli.output import Failure
from demo.client import Http
from demo.mesh import HERE, DemoMesh

STEADY_CONNECTIONS: Final = 3
POLICIES: Final = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies"
ENTRY: Final = "/apis/networking.istio.io/v1/namespaces/shop/workloadentries"
FROM: Final = "shop/frontend"
HOST: Final = "catalog.shop:8080"
REPLICA: Final = "catalog-b"
_WORKLOAD: Final = """\
  catalog-b:
    namespace: shop
    serviceAccount: catalog
    labels: {app: catalog}
    command: [python, -m, demo.services.web, --name, catalog, --port, "{port:http}", --port, "{port:http-admin}"]
    ports: {http: 8080, http-admin: 9090}
"""


@dataclass
class Result:
    """`by_wrk`: what it counted; empty without it. `dropped`: connections of the steady ones that did not last."""

    requests: int = 0
    dropped: int = 0
    wrong: list[str] = field(default_factory=list[str])
    by_wrk: dict[str, int] = field(default_factory=dict[str, int])


class Churn:
    """A second catalog comes and goes; a DENY moves between two paths."""

    def __init__(self, mesh: DemoMesh) -> None:
        self.mesh = mesh
        self.result = Result()
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._api: Client = connect(mesh.kubeconfig)
        self._live = self._connection()
        self._here = True  # the replica is registered

    def run(self, edits: int, endpoints: int, restarts: int) -> Result:
        steady = [threading.Thread(target=self._steady) for _ in range(STEADY_CONNECTIONS)]
        for thread in steady:
            thread.start()
        try:
            entry = self._ask("GET", f"{ENTRY}/{REPLICA}")
            for number in range(max(edits, endpoints)):
                if number < edits:
                    self._edit(number)
                if number < endpoints:
                    self._endpoint(entry, here=bool(number % 2))
                if restarts and number == max(edits, endpoints) // 2:
                    self._restart(signal.SIGKILL)
        finally:
            self._stop.set()
            for thread in steady:
                thread.join()
            self._live.close()
        return self.result

    def _steady(self) -> None:
        connection = self._connection()
        ports = set[int]()
        while not self._stop.is_set():
            ports.add(self._expect(connection, "/items", "allow"))
        connection.close()
        with self._lock:
            self.result.dropped += len(ports) - 1

    def _edit(self, number: int) -> None:
        denied, allowed = ("/items/a", "/items/b") if number % 2 else ("/items/b", "/items/a")
        rule = {"to": [{"operation": {"paths": [denied]}}]}
        spec = {"selector": {"matchLabels": {"app": "catalog"}}, "action": "DENY", "rules": [rule]}
        body: dict[str, Any] = {
            "apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy",
            "metadata": {"name": "churn", "namespace": "shop"}, "spec": spec,
        }  # fmt: skip
        accepted = (
            self._ask("PUT", f"{POLICIES}/churn", body) if number else self._ask("POST", POLICIES, body)
        )
        self._acknowledged(int(accepted["metadata"]["resourceVersion"]))
        for _ in range(2):  # the two catalogs take turns
            self._expect(self._live, denied, "deny")
            self._expect(self._live, allowed, "allow")

    def _acknowledged(self, revision: int) -> None:
        """By those who decide, and by the caller: until it has heard that a replica left, it may still ask it.

        A replica that is registered and has not come back to its stream yet has acknowledged nothing.
        """
        wanted = {"shop/frontend", "shop/catalog"} | ({f"shop/{REPLICA}"} if self._here else set[str]())

        def held() -> bool:
            found = self._ask("GET", "/pylis/v1/proxies")["items"]
            return wanted <= {p["name"] for p in found if p["syncedRevision"] >= revision}

        until("the acknowledgement", held)

    def _endpoint(self, entry: dict[str, Any], *, here: bool) -> None:
        self._here = here
        if not here:
            self._ask("DELETE", f"{ENTRY}/{REPLICA}")
            return
        metadata = {name: entry["metadata"][name] for name in ("name", "namespace", "annotations")}
        self._ask("POST", ENTRY, {**entry, "metadata": metadata})

    def _restart(self, how: signal.Signals) -> None:
        before = self._server()
        os.kill(before, how)
        until("another control plane", lambda: self._server() != before)
        until("its proxies", lambda: self._synced())

    def _server(self) -> int:
        return int(json.loads((self.mesh.state_dir / "mesh.json").read_text())["children"]["server"])

    def _synced(self) -> bool:
        states = [p["state"] for p in self._ask("GET", "/pylis/v1/proxies")["items"]]
        return states.count("synced") >= 7 and "pending" not in states

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Again and again where the control plane is away."""
        end = time.monotonic() + 60
        while True:
            try:
                return self._api.request(method, path, body)
            except RefusedError as error:
                if (method, error.status) in (("POST", 409), ("DELETE", 404)):
                    return error.body
                raise
            except Failure:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def _expect(self, connection: Http, path: str, wanted: str) -> int:
        """The port it was asked from."""
        outcome = connection.send("GET", path)
        with self._lock:
            self.result.requests += 1
            if outcome.actual != wanted:
                self.result.wrong.append(
                    f"{path}: {outcome.actual} {outcome.status} {outcome.detail}, not {wanted}"
                )
        return outcome.local_port

    def _connection(self) -> Http:
        return Http(self.mesh.workload(FROM)["httpProxy"], HOST, proxy=True)


def until(what: str, true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.01)


def churn(directory: Path, edits: int, endpoints: int, restarts: int) -> Result:
    """The demo's mesh with a second catalog, in `directory`."""
    file = directory / "mesh.yaml"
    text = (HERE / "mesh.yaml").read_text().replace("[policies]", f"[{HERE / 'policies'}]")
    file.write_text(text + _WORKLOAD)
    with DemoMesh(directory / "state", file=file, quiet=True) as mesh:
        load = wrk.Wrk(mesh.workload(FROM)["httpProxy"], HOST, "/items", directory)
        with load if wrk.PROGRAM else contextlib.nullcontext():
            result = Churn(mesh).run(edits, endpoints, restarts)
        result.by_wrk = load.counted
        if load.counted and load.failed:
            result.wrong.append(f"wrk: {load.counted}")
        if result.wrong:
            result.wrong.insert(0, f"the sidecars say: {_not_answered(mesh, '/items')}")
        return result


def _not_answered(mesh: DemoMesh, path: str) -> list[str]:
    """What the sidecars' logs say of requests for `path` that were refused or failed, in Envoy's own words."""
    logs = sorted((mesh.state_dir / "logs").glob("*.access.log"))
    said = [(log.name, json.loads(line)) for log in logs for line in log.read_text().splitlines()]
    return [
        f"{name}: {one}" for name, one in said if one.get("path") == path and int(one.get("status", 0)) != 200
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("--edits", 300), ("--endpoints", 100), ("--restarts", 1)):
        parser.add_argument(name, type=int, default=default)
    chosen, began = parser.parse_args(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pylis-churn-") as temporary:
        result = churn(Path(temporary), chosen.edits, chosen.endpoints, chosen.restarts)
    print(
        json.dumps(
            {
                "requests": result.requests, "wrong": len(result.wrong), "examples": result.wrong[:5],
                "dropped": result.dropped,
                "wrk": result.by_wrk or "is not installed", "seconds": round(time.monotonic() - began),
                "edits": chosen.edits, "endpoints": chosen.endpoints, "restarts": chosen.restarts,
            }
        )
    )  # fmt: skip
    sys.exit(1 if result.wrong or result.dropped else 0)


if __name__ == "__main__":
    main()
