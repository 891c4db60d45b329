"""The mesh a load test runs on: S services of R replicas in ten namespaces, each service with one ALLOW policy of five
principals; every sidecar may call ten services. Service accounts come in pairs that one principal covers by prefix.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

NAMESPACES: Final = 10
PRINCIPALS: Final = 5
_SIDECAR: Final = {"inbound": {"http": "127.0.0.1:8080"}, "httpProxy": "127.0.0.1:15001"}
_FIRST_ADDRESS: Final = int(ipaddress.IPv4Address("10.0.0.1"))


@dataclass(frozen=True, slots=True)
class LoadMesh:
    """`services` is even, and at least 12: five neighbours on one side."""

    trust_domain: str
    services: int
    replicas: int = 10
    prefix: str = "load"

    def resources(self) -> Iterator[dict[str, Any]]:
        """In the order they are to be created."""
        yield from (
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{self.prefix}-{n}"}}
            for n in range(NAMESPACES)
        )
        for service in range(self.services):
            yield self.policy(service)
            yield self._service_entry(service)
            yield from (self.entry(service, replica) for replica in range(self.replicas))

    def nodes(self) -> Iterator[tuple[str, str]]:
        """(node id, SPIFFE ID) of every sidecar."""
        for service in range(self.services):
            identity = f"spiffe://{self.trust_domain}/ns/{self.namespace(service)}/sa/{_account(service)}"
            for replica in range(self.replicas):
                yield f"{self.namespace(service)}/{self._name(service, replica)}", identity

    def replicas_of(self, service: int) -> set[str]:
        return {f"{self.namespace(service)}/{self._name(service, r)}" for r in range(self.replicas)}

    def namespace(self, service: int) -> str:
        return f"{self.prefix}-{service // 2 % NAMESPACES}"

    def policy(self, service: int, path: str = "/api/*") -> dict[str, Any]:
        """Its callers never change, so an edit of `path` concerns the service's own replicas only."""
        pairs = self.services // 2
        near = [(service // 2 + step) % pairs for step in range(1, PRINCIPALS + 1)]
        callers = [f"{self.trust_domain}/ns/{self.namespace(2 * p)}/sa/{_pair(p)}-*" for p in near]
        operation = {"paths": [path]}
        rule = {"from": [{"source": {"principals": callers}}], "to": [{"operation": operation}]}
        spec = {"selector": {"matchLabels": {"app": _account(service)}}, "rules": [rule]}
        return _object(
            "security.istio.io/v1", "AuthorizationPolicy", self.namespace(service), _account(service), spec
        )

    def mesh_wide(self, root_namespace: str, path: str = "/admin*") -> dict[str, Any]:
        rule = {"to": [{"operation": {"paths": [path]}}]}
        spec = {"action": "DENY", "rules": [rule]}
        return _object(
            "security.istio.io/v1", "AuthorizationPolicy", root_namespace, f"{self.prefix}-wide", spec
        )

    def unrelated(self, number: int) -> dict[str, Any]:
        """A policy that selects nobody: ballast."""
        source = {"principals": [f"{self.trust_domain}/ns/elsewhere/sa/{number}"]}
        spec = {
            "selector": {"matchLabels": {"app": f"none-{number}"}},
            "rules": [{"from": [{"source": source}]}],
        }
        namespace = f"{self.prefix}-{number % NAMESPACES}"
        return _object("security.istio.io/v1", "AuthorizationPolicy", namespace, f"ballast-{number}", spec)

    def entry(self, service: int, replica: int) -> dict[str, Any]:
        address = ipaddress.IPv4Address(_FIRST_ADDRESS + service * self.replicas + replica)
        spec = {
            "address": str(address), "serviceAccount": _account(service), "labels": {"app": _account(service)},
            "ports": {"http": 15006},
        }  # fmt: skip
        found = _object(
            "networking.istio.io/v1",
            "WorkloadEntry",
            self.namespace(service),
            self._name(service, replica),
            spec,
        )
        found["metadata"]["annotations"] = {"pylis.io/sidecar": json.dumps(_SIDECAR)}
        return found

    def _service_entry(self, service: int) -> dict[str, Any]:
        name, namespace = _account(service), self.namespace(service)
        spec = {
            "hosts": [f"{name}.{namespace}"], "location": "MESH_INTERNAL", "resolution": "STATIC",
            "ports": [{"number": 8080, "name": "http", "protocol": "HTTP"}],
            "workloadSelector": {"labels": {"app": name}},
        }  # fmt: skip
        return _object("networking.istio.io/v1", "ServiceEntry", namespace, name, spec)

    def _name(self, service: int, replica: int) -> str:
        return f"{_account(service)}-{replica}"


def _pair(pair: int) -> str:
    return f"p{pair:04d}"


def _account(service: int) -> str:
    return f"{_pair(service // 2)}-{'ab'[service % 2]}"


def _object(api_version: str, kind: str, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = {"namespace": namespace, "name": name}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
