"""The demo's expectations, judged offline: they hold by its policies, and not one of the policy files is idle."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from demo.expectation import Expectation, load
from demo.mesh import HERE
from policies.document import Document
from policies.judge import run
from policies.policy_test import parse

FILES = sorted(path.name for path in (HERE / "policies").glob("*.yaml"))
PORTS = {"http": 8080, "http-admin": 9090, "grpc": 9000, "tcp": 7000}
MESH: dict[str, Any] = yaml.safe_load((HERE / "mesh.yaml").read_text())
# what policy alone decides; scope, mTLS and edits need a running mesh
OFFLINE = [e for e in load() if e.how in ("http", "grpc", "tcp") and e.rule != "out-of-scope"]


def request(e: Expectation) -> dict[str, Any]:
    namespace, name = e.to.split("/")
    caller, account = e.source.split("/")
    kind = "tcp" if e.how == "tcp" else "http"
    port = e.port or next(iter(MESH["workloads"][name]["ports"]))
    http = {
        "method": "POST" if e.how == "grpc" else e.method,
        "path": e.path,
        "host": e.host or f"{name}.{namespace}",
    }
    return {
        "id": e.id, "protocol": kind, "expect": e.expect,
        "from": {"principal": f"shop.example/ns/{caller}/sa/{account}", "ip": "127.0.0.1"},
        "to": {"workload": name, "namespace": namespace, "port": PORTS[port], "ip": "127.0.0.1"},
        **({**http, "headers": e.headers or {}} if kind == "http" else {}),
    }  # fmt: skip


def failed(*, emptied: str = "") -> set[str]:
    resources = [
        document
        for file in FILES
        if file != emptied
        for document in yaml.safe_load_all((HERE / "policies" / file).read_text())
    ]
    workloads = [
        {"name": name, "namespace": w["namespace"], "serviceAccount": name, "labels": {"app": name}}
        for name, w in MESH["workloads"].items()
    ]
    mesh = {"trustDomain": MESH["trustDomain"]}
    spec = {
        "mesh": mesh,
        "resources": resources,
        "workloads": workloads,
        "requests": [*map(request, OFFLINE)],
    }
    test, problems = parse(
        Document(
            {
                "apiVersion": "pylis.io/v1alpha1",
                "kind": "PolicyTest",
                "metadata": {"name": "demo"},
                "spec": spec,
            }
        )
    )
    assert test is not None, problems
    return {result.id for result in run(test, now=0) if not result.ok}


def test_they_hold() -> None:
    assert len(OFFLINE) >= 35
    assert failed() == set()


@pytest.mark.parametrize("file", FILES)
def test_an_emptied_file_is_noticed(file: str) -> None:
    assert failed(emptied=file)
