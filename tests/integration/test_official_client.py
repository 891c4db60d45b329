"""The official Python client: create, read, change, delete, and a watch that loses nothing over a server restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes.client
import kubernetes.config
import kubernetes.dynamic
import kubernetes.watch
import pytest
import urllib3.exceptions

from tests.integration.running_server import RunningServer

GROUP, VERSION, PLURAL = "security.istio.io", "v1", "authorizationpolicies"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with RunningServer(tmp_path) as running:
        yield running


def api_client(server: RunningServer) -> Any:
    return kubernetes.config.new_client_from_config(str(server.kubeconfig))


def policy(name: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/{VERSION}", "kind": "AuthorizationPolicy", "metadata": {"name": name},
        "spec": {"rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]},
    }  # fmt: skip


def test_crud(server: RunningServer) -> None:
    with api_client(server) as client:
        objects, core = kubernetes.client.CustomObjectsApi(client), kubernetes.client.CoreV1Api(client)
        assert kubernetes.client.VersionApi(client).get_code().major == "1"
        core.create_namespace({"metadata": {"name": "shop"}})
        assert "shop" in [n.metadata.name for n in core.list_namespace().items]
        where = (GROUP, VERSION, "shop", PLURAL)
        made = objects.create_namespaced_custom_object(*where, policy("a"))
        assert made["metadata"]["generation"] == 1
        patched = objects.patch_namespaced_custom_object(*where, "a", {"spec": {"action": "DENY"}})
        assert patched["spec"]["action"] == "DENY"
        with pytest.raises(kubernetes.client.ApiException) as stale:
            objects.replace_namespaced_custom_object(*where, "a", made)
        assert stale.value.status == 409
        # without a version it overwrites: the control plane writes the status meanwhile
        objects.replace_namespaced_custom_object(*where, "a", policy("a"))
        listed = objects.list_namespaced_custom_object(*where, label_selector="!x", limit=10)
        assert [o["metadata"]["name"] for o in listed["items"]] == ["a"]
        objects.patch_namespaced_custom_object_status(*where, "a", {"status": {"seen": "yes"}})
        assert objects.get_namespaced_custom_object(*where, "a")["status"]["seen"] == "yes"
        with pytest.raises(kubernetes.client.ApiException) as refused:
            objects.create_namespaced_custom_object(*where, policy("b") | {"spec": {"rulez": []}})
        assert refused.value.status == 400
        assert objects.delete_namespaced_custom_object(*where, "a")["status"] == "Success"
        objects.create_namespaced_custom_object(*where, policy("c"))
        objects.delete_collection_namespaced_custom_object(*where)
        assert objects.list_namespaced_custom_object(*where)["items"] == []


def test_the_dynamic_client(server: RunningServer) -> None:
    with api_client(server) as client:
        dynamic = kubernetes.dynamic.DynamicClient(client, cache_file=str(server.directory / "cache.json"))
        policies = dynamic.resources.get(api_version=f"{GROUP}/{VERSION}", kind="AuthorizationPolicy")
        policies.create(body=policy("a"), namespace="default")
        body = policy("a") | {"metadata": {"name": "a", "labels": {"t": "x"}}}
        applied = policies.server_side_apply(
            body=body, name="a", namespace="default", field_manager="test", force_conflicts=True
        )
        assert applied.metadata.labels.t == "x"
        assert [p.metadata.name for p in policies.get(namespace="default").items] == ["a"]
        policies.delete(name="a", namespace="default")


def test_a_watch_over_a_restart_loses_no_event(server: RunningServer) -> None:
    seen: list[str] = []
    stop = threading.Event()

    def follow() -> None:
        with api_client(server) as client:
            objects, watch = kubernetes.client.CustomObjectsApi(client), kubernetes.watch.Watch()
            version = objects.list_namespaced_custom_object(GROUP, VERSION, "default", PLURAL)["metadata"][
                "resourceVersion"
            ]
            watch.resource_version = version
            while not stop.is_set():
                try:
                    stream = watch.stream(
                        objects.list_namespaced_custom_object, GROUP, VERSION, "default", PLURAL,
                        resource_version=watch.resource_version or version, timeout_seconds=2,
                    )  # fmt: skip
                    seen.extend(e["object"]["metadata"]["name"] for e in stream if e["type"] == "ADDED")
                except (urllib3.exceptions.HTTPError, OSError):
                    continue

    follower = threading.Thread(target=follow)
    follower.start()
    names = [f"p{n}" for n in range(30)]
    try:
        for number, name in enumerate(names):
            if number in (10, 20):
                server.stop()
                server.start()
            with api_client(server) as client:
                objects = kubernetes.client.CustomObjectsApi(client)
                objects.create_namespaced_custom_object(GROUP, VERSION, "default", PLURAL, policy(name))
        end = time.monotonic() + 60
        while len(seen) < len(names) and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        stop.set()
        follower.join(60)
    assert seen == names
