"""The comparison with a dump; against a real Envoy in tests/e2e/test_failures.py."""

from __future__ import annotations

from typing import Any

from controlplane.proxy_config import Difference, compare, resources_json
from xds import schema
from xds.snapshot import Resource, Snapshot


def told() -> list[dict[str, Any]]:
    cluster = schema.new("envoy.config.cluster.v3.Cluster", name="c", lb_policy="RING_HASH")
    listener = schema.new("envoy.config.listener.v3.Listener", name="l")
    return resources_json(Snapshot.of([Resource.of("c", cluster), Resource.of("l", listener)]))


def a_dump(cluster: str, listener: str) -> dict[str, Any]:
    clusters = [{"version_info": cluster, "cluster": {"name": "c"}}, {"cluster": {"name": "static"}}]
    listeners = [{"name": "l", "active_state": {"version_info": listener, "listener": {"name": "l"}}}]
    return {"configs": [{"dynamic_active_clusters": clusters}, {"dynamic_listeners": listeners}]}


def test_resources_are_shown_in_envoys_own_words() -> None:
    cluster, listener = told()
    assert (cluster["type"], cluster["name"], cluster["config"]) == (
        "Cluster",
        "c",
        {"name": "c", "lb_policy": "RING_HASH"},
    )
    assert listener["bytes"] > 0


def test_equal_versions_are_no_difference() -> None:
    cluster, listener = told()
    assert compare(told(), a_dump(cluster["version"], listener["version"])) == []


def test_what_differs_is_said() -> None:
    cluster, _ = told()
    dump = a_dump(cluster["version"], "older")
    dump["configs"].append({"ecds_filters": [{"ecds_filter": {"name": "x"}, "version_info": "1"}]})
    assert compare(told(), dump) == [
        Difference("TypedExtensionConfig", "x", "not ours"),
        Difference("Listener", "l", "other version"),
    ]
    assert Difference("Cluster", "c", "missing") in compare(told(), {"configs": []})


def test_what_envoy_never_dumps_is_not_missed() -> None:
    layer = Resource.of("pylis", schema.new("envoy.service.runtime.v3.Runtime", name="pylis"))
    assert compare(resources_json(Snapshot.of([layer])), {"configs": []}) == []
