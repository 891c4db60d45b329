"""Where everything of a local mesh listens, and the resources and commands that follow from it. Pure.

Ports are given from outside, in the order `ports_needed` counts them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from controlplane.local.mesh_file import LocalWorkload, MeshFile, protocol

AGENT: Final = "local"
_SOCKET: Final = "{socket}"


@dataclass(frozen=True, slots=True)
class Placed:
    """One workload with its addresses: `inbound` port name → the sidecar's port, `app` → the application's address."""

    workload: LocalWorkload
    inbound: Mapping[str, int]
    app: Mapping[str, str]
    http_proxy: int
    upstreams: Mapping[str, int]


def ports_needed(mesh: MeshFile) -> int:
    return sum(2 * len(w.ports) + 1 + len(w.upstreams) for w in mesh.workloads)


def place(mesh: MeshFile, ports: Iterator[int], socket_dir: str) -> tuple[Placed, ...]:
    """A workload whose command or environment has `{socket}` is reached by a Unix socket on its first port."""
    placed: list[Placed] = []
    for w in mesh.workloads:
        by_socket = any(_SOCKET in text for text in (*w.command, *w.env.values()))
        inbound, app = dict[str, int](), dict[str, str]()
        for index, name in enumerate(w.ports):
            inbound[name], own = next(ports), next(ports)
            unix = f"unix://{socket_dir}/{w.namespace}-{w.name}.sock"
            app[name] = unix if by_socket and index == 0 else f"127.0.0.1:{own}"
        placed.append(Placed(w, inbound, app, next(ports), {u.name: next(ports) for u in w.upstreams}))
    return tuple(placed)


def resources(placed: tuple[Placed, ...]) -> list[dict[str, Any]]:
    """The registry: for each workload its registration, its entry, and a service when it has ports."""
    found: list[dict[str, Any]] = []
    for p in placed:
        w = p.workload
        metadata = {"namespace": w.namespace, "name": w.name}
        found.append(
            {
                "apiVersion": "pylis.io/v1alpha1",
                "kind": "WorkloadRegistration",
                "metadata": metadata,
                "spec": {
                    "serviceAccount": w.service_account,
                    "selectors": [f"supervised:workload:{w.full_name}"],
                    "agents": [AGENT],
                },
            }
        )
        upstreams = [
            {
                "name": u.name,
                "service": u.service,
                "port": u.port,
                "listen": f"127.0.0.1:{p.upstreams[u.name]}",
            }
            for u in w.upstreams
        ]
        watched = {"pylis.io/watched-by": AGENT} if w.readiness else {}
        sidecar = {"inbound": dict(p.app), "httpProxy": f"127.0.0.1:{p.http_proxy}", "upstreams": upstreams}
        annotations = {"pylis.io/sidecar": json.dumps(sidecar), **watched}
        found.append(
            {
                "apiVersion": "networking.istio.io/v1",
                "kind": "WorkloadEntry",
                "metadata": {**metadata, "annotations": annotations},
                "spec": {
                    "address": "127.0.0.1",
                    "serviceAccount": w.service_account,
                    "labels": dict(w.labels),
                    "ports": dict(p.inbound),
                },
            }
        )
        if w.ports:
            ports = [{"name": n, "number": number, "protocol": protocol(n)} for n, number in w.ports.items()]
            found.append(
                {
                    "apiVersion": "networking.istio.io/v1",
                    "kind": "ServiceEntry",
                    "metadata": metadata,
                    "spec": {
                        "hosts": [w.host],
                        "ports": ports,
                        "workloadSelector": {"labels": {"app": w.labels["app"]}},
                    },
                }
            )
    return found


def workloads_file(placed: tuple[Placed, ...], python: str, directory: str, logs: str) -> dict[str, Any]:
    """What the agent runs. `python` stands for this Python; `directory` is the mesh file's."""
    return {"workloads": [_entry(p, python, directory, logs) for p in placed]}


def _entry(p: Placed, python: str, directory: str, logs: str) -> dict[str, Any]:
    w = p.workload
    values = _placeholders(p)
    command = [_fill(part, values) for part in w.command]
    if command[0] in ("python", "python3"):
        command[0] = python
    proxy = f"http://127.0.0.1:{p.http_proxy}"
    local = "localhost,127.0.0.1,::1"
    env = {
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "NO_PROXY": local,
        "no_proxy": local,
        "PYTHONUNBUFFERED": "1",
    }
    for name, port in p.upstreams.items():
        env[f"PYLIS_UPSTREAM_{name.upper().replace('-', '_')}"] = f"127.0.0.1:{port}"
    env |= {name: _fill(value, values) for name, value in w.env.items()}
    stem = f"{logs}/{w.namespace}-{w.name}"
    return {
        "namespace": w.namespace,
        "name": w.name,
        "serviceAccount": w.service_account,
        "sidecar": True,
        "command": command,
        "env": env,
        "cwd": directory,
        "restart": w.restart,
        "logs": {"app": f"{stem}.log", "envoy": f"{stem}.envoy.log", "access": f"{stem}.access.log"},
        **_readiness(p),
    }


def _readiness(p: Placed) -> dict[str, Any]:
    probe = p.workload.readiness
    if probe is None:
        return {}
    return {
        "readiness": {
            "address": p.app[probe.port],
            "path": probe.path,
            "periodSeconds": probe.period,
            "timeoutSeconds": probe.timeout,
            "failureThreshold": probe.failure_threshold,
        }
    }


def _placeholders(p: Placed) -> dict[str, str]:
    values: dict[str, str] = {}
    for index, (name, address) in enumerate(p.app.items()):
        if address.startswith("unix://"):
            values[_SOCKET] = address.removeprefix("unix://")
        else:
            values[f"{{port:{name}}}"] = address.rpartition(":")[2]
            if index == 0:
                values["{port}"] = address.rpartition(":")[2]
    return values


def _fill(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text
