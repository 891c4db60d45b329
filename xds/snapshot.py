"""What one proxy should hold: resources by type and name, content-addressed.

A version is a hash of the bytes, so two replicas of the control plane, or one before and after a restart,
give equal resources equal versions, and a proxy is sent only what differs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from xds import schema
from xds.errors import SnapshotError
from xds.schema import wire

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
RUNTIME = "type.googleapis.com/envoy.service.runtime.v3.Runtime"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 - a type's name
DELTA_RESPONSE: Final = "envoy.service.discovery.v3.DeltaDiscoveryResponse"
_ENTRY: Final = "envoy.service.discovery.v3.Resource"
_ANY: Final = "google.protobuf.Any"


@dataclass(frozen=True, slots=True, weakref_slot=True, init=False)
class Resource:
    """`version` is the hash of `body`, the serialized message of type `type_url` (16 hex digits).

    Held is `entry`: what stands for the resource in a delta response, tag and length included, with the body at its end.
    """

    type_url: str
    name: str
    version: str
    entry: bytes = field(repr=False, hash=False)
    _body_at: int = field(repr=False, hash=False)

    def __init__(self, type_url: str, name: str, body: bytes, version: str) -> None:
        entry, body_at = _entry(type_url, name, body, version)
        fill = object.__setattr__  # frozen
        fill(self, "type_url", type_url)
        fill(self, "name", name)
        fill(self, "version", version)
        fill(self, "entry", entry)
        fill(self, "_body_at", body_at)

    @classmethod
    def of(cls, name: str, message: Message) -> Resource:
        body = schema.encode(message)
        return cls(schema.type_url(message), name, body, hashlib.sha256(body).hexdigest()[:16])

    @property
    def body(self) -> bytes:
        return self.entry[self._body_at :]

    @property
    def size_bytes(self) -> int:
        """Of `body`."""
        return len(self.entry) - self._body_at


class Table(dict[str, Resource]):
    """Resources of one type by name. It is never changed, so that many snapshots may share it."""

    __slots__ = ("__weakref__", "_version")

    @classmethod
    def of(cls, resources: Iterable[Resource]) -> Table:
        """Of resources of one type, each name once."""
        return cls((resource.name, resource) for resource in resources)

    @property
    def version(self) -> str:
        """A hash over all of them: equal for equal content."""
        try:
            return self._version
        except AttributeError:  # it is asked for a thousand times, or never
            text = "".join(f"{name}\0{self[name].version}\n" for name in sorted(self))
            self._version = hashlib.sha256(text.encode()).hexdigest()[:16]
            return self._version


@dataclass(frozen=True, slots=True)
class Snapshot:
    """type URL → name → Resource. Make it with `of`; it is never changed."""

    by_type: Mapping[str, Table] = field(default_factory=dict[str, Table])
    notes: tuple[str, ...] = ()  # what people should know of it; the client is not told

    @classmethod
    def of(cls, resources: Iterable[Resource], previous: Snapshot | None = None) -> Snapshot:
        """What is as it was in `previous` is shared with it, a type whole: who compares sees at once what is not.

        Raises: SnapshotError when two resources share a type and a name.
        """
        tables: dict[str, Table] = {}
        for resource in resources:
            names = tables.setdefault(resource.type_url, Table())
            if resource.name in names:
                raise SnapshotError(f"{resource.type_url} {resource.name!r} stands twice in a snapshot")
            names[resource.name] = resource
        before = (previous or cls()).by_type
        return cls({t: before[t] if before.get(t) == names else names for t, names in tables.items()})

    def resources(self, type_url: str) -> Table:
        return self.by_type.get(type_url, _NOTHING)

    def only(self, type_url: str) -> Snapshot:
        """What a stream of one type is about."""
        found = self.by_type.get(type_url)
        return Snapshot({} if found is None else {type_url: found})

    def with_table(self, type_url: str, table: Table) -> Snapshot:
        """The same but for one type."""
        others = {t: names for t, names in self.by_type.items() if t != type_url}
        return Snapshot({**others, type_url: table} if table else others)

    def version_of(self, type_url: str) -> str:
        """A hash over all resources of a type: equal for equal content."""
        return self.resources(type_url).version

    @property
    def version(self) -> str:
        """A hash over all resources: equal for equal content."""
        text = "".join(f"{t}\0{self.version_of(t)}\n" for t in sorted(self.by_type))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def size_bytes(self) -> int:
        return sum(r.size_bytes for names in self.by_type.values() for r in names.values())


def _entry(type_url: str, name: str, body: bytes, version: str) -> tuple[bytes, int]:
    """The field of a DeltaDiscoveryResponse, and where in it the body begins."""
    within = wire.field(wire.tag(_ANY, "type_url"), type_url.encode())
    within += wire.tag(_ANY, "value") + wire.varint(len(body))
    before = wire.field(wire.tag(_ENTRY, "name"), name.encode())
    before += wire.field(wire.tag(_ENTRY, "version"), version.encode())
    before += wire.tag(_ENTRY, "resource") + wire.varint(len(within) + len(body)) + within
    head = wire.tag(DELTA_RESPONSE, "resources") + wire.varint(len(before) + len(body)) + before
    return head + body, len(head)


# one object, so that nothing is seen to be the same nothing as before
_NOTHING: Final = Table()
