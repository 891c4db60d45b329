"""What one proxy should hold: resources by type and name, content-addressed.

A version is a hash of the bytes, so two replicas of the control plane, or one before and after a restart,
give equal resources equal versions, and a proxy is sent only what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from google.protobuf.message import Message

from xds import schema
from xds.errors import SnapshotError

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name


@dataclass(frozen=True, slots=True, weakref_slot=True)
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


@dataclass(frozen=True, slots=True)
class Snapshot:
    """type URL → name → Resource. Make it with `of`; it is never changed."""

    by_type: Mapping[str, Mapping[str, Resource]] = field(default_factory=dict[str, Mapping[str, Resource]])
    notes: tuple[str, ...] = ()  # what people should know of it; the client is not told

    @classmethod
    def of(cls, resources: Iterable[Resource], previous: Snapshot | None = None) -> Snapshot:
        """What is as it was in `previous` is shared with it, a type whole: who compares sees at once what is not.

        Raises: SnapshotError when two resources share a type and a name.
        """
        table: dict[str, dict[str, Resource]] = {}
        for resource in resources:
            names = table.setdefault(resource.type_url, {})
            if resource.name in names:
                raise SnapshotError(f"{resource.type_url} {resource.name!r} stands twice in a snapshot")
            names[resource.name] = resource
        before = (previous or cls()).by_type
        return cls({t: before[t] if before.get(t) == names else names for t, names in table.items()})

    def resources(self, type_url: str) -> Mapping[str, Resource]:
        return self.by_type.get(type_url, _NOTHING)

    def only(self, type_url: str) -> Snapshot:
        """What a stream of one type is about."""
        found = self.by_type.get(type_url)
        return Snapshot({} if found is None else {type_url: found})

    def with_type(self, type_url: str, resources: Iterable[Resource]) -> Snapshot:
        """The same but for one type."""
        others = {t: names for t, names in self.by_type.items() if t != type_url}
        changed = {r.name: r for r in resources}
        return Snapshot({**others, type_url: changed} if changed else others)

    def version_of(self, type_url: str) -> str:
        """A hash over all resources of a type: equal for equal content."""
        found = self.resources(type_url)
        text = "".join(f"{name}\0{found[name].version}\n" for name in sorted(found))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def version(self) -> str:
        """A hash over all resources: equal for equal content."""
        text = "".join(f"{t}\0{self.version_of(t)}\n" for t in sorted(self.by_type))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def size_bytes(self) -> int:
        return sum(len(r.body) for names in self.by_type.values() for r in names.values())


# one object, so that nothing is seen to be the same nothing as before
_NOTHING: Final[Mapping[str, Resource]] = MappingProxyType({})
