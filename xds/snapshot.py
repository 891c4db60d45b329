"""What one proxy should hold: resources by type and name, content-addressed.

A version is a hash of the bytes, so two replicas of the control plane, or one before and after a restart,
give equal resources equal versions, and a proxy is sent only what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

from google.protobuf.message import Message

from xds import schema
from xds.errors import SnapshotError

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name


@dataclass(frozen=True, slots=True)
class Resource:
    """`body` is the serialized message of type `type_url`; `version` is the hash of `body` (16 hex digits)."""

    type_url: str
    name: str
    body: bytes = field(repr=False)
    version: str

    @classmethod
    def of(cls, name: str, message: Message) -> Resource:
        body = schema.encode(message)
        return cls(schema.type_url(message), name, body, hashlib.sha256(body).hexdigest()[:16])


@dataclass(frozen=True)
class Snapshot:
    """type URL → name → Resource. Make it with `of`; it is never changed."""

    by_type: Mapping[str, Mapping[str, Resource]] = field(default_factory=dict[str, Mapping[str, Resource]])

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Snapshot:
        """Raises: SnapshotError when two resources share a type and a name."""
        table: dict[str, dict[str, Resource]] = {}
        for resource in resources:
            names = table.setdefault(resource.type_url, {})
            if resource.name in names:
                raise SnapshotError(f"{resource.type_url} {resource.name!r} stands twice in a snapshot")
            names[resource.name] = resource
        return cls(MappingProxyType({t: MappingProxyType(names) for t, names in table.items()}))

    def resources(self, type_url: str) -> Mapping[str, Resource]:
        return self.by_type.get(type_url, {})

    @cached_property
    def version(self) -> str:
        """A hash over all resources: equal for equal content."""
        digest = hashlib.sha256()
        for type_url in sorted(self.by_type):
            for name in sorted(self.by_type[type_url]):
                digest.update(f"{type_url}\0{name}\0{self.by_type[type_url][name].version}\n".encode())
        return digest.hexdigest()[:16]

    @cached_property
    def size_bytes(self) -> int:
        return sum(len(r.body) for names in self.by_type.values() for r in names.values())
