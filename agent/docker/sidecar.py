"""The sidecar of one container, as the engine is asked to make it. Pure.

It joins the app's network namespace and shares nothing else with it. It runs as a uid of its own with one
capability, NET_RAW, to mark its connections; its file system is read-only; no secret is in its command.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from agent.bootstrap import Sidecar, bootstrap
from agent.docker.container import AGENT, PROJECT, SIDECAR_OF, SPEC, STARTED, WORKLOAD, Container
from agent.rules import MARK, PROXY_UID

IMAGE: Final = "envoyproxy/envoy:v1.40.0"
RUN: Final = "/run/pylis"
MEMORY: Final = 256 * 1024 * 1024
_UNPRIVILEGED: Final = (
    "setpriv", f"--reuid={PROXY_UID}", f"--regid={PROXY_UID}", "--clear-groups", "--no-new-privs",
    "--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--bounding-set=-all,+net_raw",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Node:
    """What all sidecars of an agent have in common. `run` is the volume (or path) its sockets are in.

    `mesh`: which of an engine's labelled containers are its own, by their label; "" those without one.
    """

    agent: str
    trust_domain: str
    image: str
    run: str
    mesh: str = ""

    @property
    def owner(self) -> str:
        """No two agents of an engine are the same: their sockets are in different places."""
        return f"{self.trust_domain}/{self.agent}@{self.run}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """`spec` changes when the sidecar has to be made anew, `options` is for the engine."""

    name: str
    spec: str
    options: dict[str, Any]


def wanted(app: Container, namespace: str, workload: str, account: str, node: Node) -> Wanted:
    config = bootstrap(
        Sidecar(
            namespace, workload, account, node.trust_domain, "", 0,
            f"{RUN}/agent.sock", "/tmp/admin.sock", xds_socket=f"{RUN}/xds.sock", mark=MARK,  # noqa: S108 - its own tmpfs
        )
    )  # fmt: skip
    command = [
        *_UNPRIVILEGED, "envoy", "--config-yaml", json.dumps(config, sort_keys=True), "--disable-hot-restart",
        "--concurrency", "1", "--log-level", "warning", "--file-flush-interval-msec", "100",
        "--drain-time-s", "5", "--drain-strategy", "immediate",
    ]  # fmt: skip
    options: dict[str, Any] = {
        "image": node.image,
        "entrypoint": "",
        "command": command,
        "network_mode": f"container:{app.id}",
        "cap_drop": ["ALL"],
        "cap_add": ["NET_RAW", "SETUID", "SETGID", "SETPCAP"],
        "read_only": True,
        "tmpfs": {"/tmp": f"mode=700,uid={PROXY_UID},gid={PROXY_UID},size=1m"},  # noqa: S108 - inside the container
        "mem_limit": MEMORY,
        "pids_limit": 64,
        "user": "0:0",  # setpriv leaves it before Envoy begins
        "volumes": {node.run: {"bind": RUN, "mode": "ro"}},
        "log_config": {"type": "json-file", "config": {"max-size": "10m", "max-file": "2"}},
        "restart_policy": {"Name": "on-failure", "MaximumRetryCount": 5},
        "stop_signal": "SIGKILL",
    }
    spec = hashlib.sha256(json.dumps([options, app.started], sort_keys=True).encode()).hexdigest()[:16]
    labels = {
        SIDECAR_OF: app.id,
        AGENT: node.owner,
        STARTED: app.started,
        SPEC: spec,
        PROJECT: app.project,
        WORKLOAD: f"{namespace}/{account}",
    }
    return Wanted(f"pylis-sidecar-{app.id[:12]}", spec, {**options, "labels": labels})
