"""`pylis enforce` against a whole control plane: from a namespace's annotation to what a workload's port decides."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from controlplane.cli.observed import enforce
from tests.integration.running_server import RunningServer

SECONDS = 20.0
ENTRIES = "/apis/networking.istio.io/v1/namespaces/shop/workloadentries"


def entry(name: str, **labels: str) -> dict[str, Any]:
    """As an agent reports one that asks only to be observed."""
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "WorkloadEntry",
        "metadata": {
            "namespace": "shop", "name": name, "labels": labels, "annotations": {"pylis.io/mode": "observe"},
        },
        "spec": {"address": "10.0.0.1", "serviceAccount": name.partition("-")[0], "labels": {"pylis.io/mode": "observe"}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with RunningServer(tmp_path_factory.mktemp("enforce")) as running:
        client = running.client()
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
        client.request("POST", "/api/v1/namespaces", body)
        for one in (
            entry("web-1", **{"pylis.io/agent": "docker"}),
            entry("db-1", **{"pylis.io/agent": "docker"}),
        ):
            client.request("POST", ENTRIES, one)
        yield running


def mode(server: RunningServer, name: str) -> str:
    value = server.client().request("GET", f"{ENTRIES}/{name}")
    return str(value["spec"]["labels"].get("pylis.io/mode", "enforce"))


def becomes(server: RunningServer, name: str, wanted: str) -> None:
    end = time.monotonic() + SECONDS
    while mode(server, name) != wanted:
        assert time.monotonic() < end, f"{name} is {mode(server, name)}"
        time.sleep(0.02)


def run(server: RunningServer, *arguments: str) -> Result:
    return CliRunner().invoke(enforce, [*arguments, "-n", "shop", "--kubeconfig", str(server.kubeconfig)])


def test_one_service_is_enforced_and_back(server: RunningServer) -> None:
    done = run(server, "web")
    assert "shop/web is enforced" in done.output
    becomes(server, "web-1", "enforce")
    assert mode(server, "db-1") == "observe"
    assert "shop/web is observed" in run(server, "web", "--undo").output
    becomes(server, "web-1", "observe")


def test_all_of_a_namespace_and_what_one_service_less_would_mean(server: RunningServer) -> None:
    run(server, "--all")
    becomes(server, "db-1", "enforce")
    assert "the namespace enforces every service" in run(server, "db", "--undo").output
    assert mode(server, "db-1") == "enforce"
    run(server, "--all", "--undo")
    becomes(server, "db-1", "observe")


def test_a_name_that_nobody_has_is_told_with_those_there_are(server: RunningServer) -> None:
    done = run(server, "wbe")
    assert done.exit_code != 0
    assert "db, web" in done.output + str(done.exception)


def test_a_namespace_that_names_no_service_account_is_refused(server: RunningServer) -> None:
    patch = {"metadata": {"annotations": {"pylis.io/enforce": "we b"}}}
    with pytest.raises(Exception, match="no service account"):
        server.client().request(
            "PATCH", "/api/v1/namespaces/shop", patch, content_type="application/merge-patch+json"
        )
