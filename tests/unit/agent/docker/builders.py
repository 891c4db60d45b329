"""Containers as the engine describes them, with defaults."""

from __future__ import annotations

from typing import Any

from agent.docker.container import Container, read

IDS = {"web": "a1" * 32, "db": "b2" * 32, "sidecar": "c3" * 32}


def inspected(name: str = "web", labels: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    network = {
        "IPAddress": "172.18.0.2",
        "IPPrefixLen": 16,
        "Aliases": [IDS.get(name, "d4" * 32)[:12], name, f"{name}.shop"],
    }
    return {
        "Id": IDS.get(name, "d4" * 32),
        "Name": f"/{name}",
        "Image": "sha256:aa",
        "Config": {
            "Image": "web:1",
            "Labels": {"pylis.io/inject": "true", **(labels or {})},
            "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
        },
        "State": {
            "Running": changes.get("running", True),
            "Pid": 42,
            "StartedAt": changes.get("started", "t0"),
        },
        "HostConfig": {"NetworkMode": changes.get("mode", "shop_default")},
        "NetworkSettings": {"Networks": changes.get("networks", {"shop_default": network})},
    }


def a_container(name: str = "web", labels: dict[str, str] | None = None, **changes: Any) -> Container:
    return read(inspected(name, labels, **changes))
