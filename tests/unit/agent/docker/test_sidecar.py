from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from agent.docker.container import SIDECAR_OF
from agent.docker.reconcile import plan
from agent.docker.sidecar import Node, wanted

_spec = importlib.util.spec_from_file_location("docker_builders", Path(__file__).with_name("builders.py"))
assert _spec is not None and _spec.loader is not None
builders: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(builders)
a_container = builders.a_container
NODE = Node("docker", "shop.example", "envoyproxy/envoy:v1.40.0", "pylis_run")


def want(**changes: Any) -> Any:
    return wanted(a_container(**changes), "shop", "web-1", "web", NODE)


def test_it_joins_its_apps_namespace_with_one_capability() -> None:
    options = want().options
    assert options["network_mode"] == f"container:{a_container().id}"
    assert options["cap_drop"] == ["ALL"]
    assert set(options["cap_add"]) == {"NET_RAW", "SETUID", "SETGID", "SETPCAP"}
    assert "--bounding-set=-all,+net_raw" in options["command"]
    assert options["read_only"]
    assert options["volumes"] == {"pylis_run": {"bind": "/run/pylis", "mode": "ro"}}


def test_its_bootstrap_has_no_address_of_the_control_plane_and_marks_what_goes_out() -> None:
    command = want().options["command"]
    config = json.loads(command[command.index("--config-yaml") + 1])
    clusters = config["static_resources"]["clusters"]
    ends = [c["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] for c in clusters]
    assert ends == [{"pipe": {"path": "/run/pylis/agent.sock"}}, {"pipe": {"path": "/run/pylis/xds.sock"}}]
    assert config["cluster_manager"]["upstream_bind_config"]["socket_options"][0]["int_value"] == 0x50590001
    assert config["node"]["id"] == "shop/web-1"


def test_it_says_whose_it_is() -> None:
    """Two agents of one name, on one engine, are not taken for each other."""
    other = Node("docker", "shop.example", "envoyproxy/envoy:v1.40.0", "other_run")
    labels = [wanted(a_container(), "shop", "web-1", "web", n).options["labels"] for n in (NODE, other)]
    assert [one["pylis.io/agent"] for one in labels] == [NODE.owner, other.owner]
    assert NODE.owner != other.owner


def sidecar_of(app: Any, spec: str, **changes: Any) -> Any:
    return a_container("sidecar", {SIDECAR_OF: app.id, "pylis.io/spec": spec}, **changes)


def test_what_is_right_is_left_alone() -> None:
    app, good = a_container(), want()
    actions = plan({app.id: good}, [sidecar_of(app, good.spec)])
    assert actions.remove == ()
    assert not actions.make


def test_a_sidecar_of_an_earlier_life_is_replaced() -> None:
    """After a restart the app has a new namespace; the sidecar is in the dead one."""
    app, old, new = a_container(started="t1"), want(started="t0"), want(started="t1")
    assert old.spec != new.spec
    there = sidecar_of(app, old.spec)
    actions = plan({app.id: new}, [there])
    assert actions.remove == (there.id,)
    assert dict(actions.make) == {app.id: new}


def test_a_dead_sidecar_is_replaced_and_an_orphan_goes() -> None:
    app, good = a_container(), want()
    dead = sidecar_of(app, good.spec, running=False)
    assert plan({app.id: good}, [dead]).make
    orphan = sidecar_of(app, good.spec)
    assert plan({}, [orphan]).remove == (orphan.id,)


def test_of_two_one_goes() -> None:
    app, good = a_container(), want()
    twin = sidecar_of(app, good.spec)
    assert len(plan({app.id: good}, [twin, twin]).remove) == 1
