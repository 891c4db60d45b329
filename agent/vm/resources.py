"""What an operator applies for a machine, as YAML: who may be the workload, where it is, what it serves. Pure.

The machine cannot apply it itself: a stolen one is this workload and can become no other.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from agent.rules import INBOUND_PORT, OUTBOUND_PORT
from agent.vm.host import Host
from agent.vm.units import ENVOY

_SERVICE = "pylis.io/service"


def resources(host: Host, agent: str) -> str:
    """`agent`: the name this machine joined by; of its processes only the sidecar's unit holds the identity."""
    found = [_registration(host, agent), _entry(host), *_service(host)]
    return yaml.safe_dump_all(found, sort_keys=False)


def _registration(host: Host, agent: str) -> dict[str, Any]:
    return {
        "apiVersion": "pylis.io/v1alpha1",
        "kind": "WorkloadRegistration",
        "metadata": {"name": host.name, "namespace": host.namespace},
        "spec": {
            "serviceAccount": host.service_account,
            "selectors": [f"systemd:id:{ENVOY}"],
            "agents": [agent],
        },
    }


def _entry(host: Host) -> dict[str, Any]:
    layout = {
        "interception": {
            "inboundPort": INBOUND_PORT,
            "outboundPort": OUTBOUND_PORT,
            "ipv6": host.ipv6,
            "networks": list(host.networks),
            "passthrough": host.passthrough,
        }
    }
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "WorkloadEntry",
        "metadata": {
            "name": host.name,
            "namespace": host.namespace,
            "annotations": {"pylis.io/sidecar": json.dumps(layout, sort_keys=True)},
        },
        "spec": {
            "address": host.address,
            "serviceAccount": host.service_account,
            "labels": {"app": host.service_account, _SERVICE: host.service_account},
        },
    }


def _service(host: Host) -> list[dict[str, Any]]:
    """Nothing for what serves no port. Machines of one service account write the same."""
    if not host.ports:
        return []
    names = dict.fromkeys((f"{host.service_account}.{host.namespace}", *host.hosts))
    ports = [
        {"number": p.number, "name": f"{p.protocol.lower()}-{p.number}", "protocol": p.protocol}
        for p in host.ports
    ]
    return [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": host.service_account, "namespace": host.namespace},
            "spec": {
                "hosts": list(names),
                "ports": ports,
                "workloadSelector": {"labels": {_SERVICE: host.service_account}},
            },
        }
    ]
