"""Which gRPC methods are served, and what each of them speaks: both protocols, aggregated and a type at a time.

A stream of one type may leave type_url out of its requests; one of another type breaks the protocol.
Source: the services of envoy.service.*.v3
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from google.protobuf.message import Message

from xds import schema
from xds.drains import Drains
from xds.errors import ProtocolError
from xds.responses import Response
from xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES, Snapshot
from xds.sotw import SotwStream
from xds.stream import DeltaStream, Event

DELTA_ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SOTW_ADS: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources"
_DELTA_REQUEST: Final = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
_SOTW_REQUEST: Final = "envoy.service.discovery.v3.DiscoveryRequest"
_RESPONSES: Final = {
    _DELTA_REQUEST: "envoy.service.discovery.v3.DeltaDiscoveryResponse",
    _SOTW_REQUEST: "envoy.service.discovery.v3.DiscoveryResponse",
}
_OF_ONE_TYPE: Final = {
    CLUSTER: ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
    ENDPOINTS: ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    LISTENER: ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
    ROUTES: ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
    EXTENSION: ("envoy.service.extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs"),
}


class Stream(Protocol):
    """What both protocols' state machines are to the server."""

    def receive(self, request: Message) -> Event | None: ...

    def offer(self, snapshot: Snapshot) -> None: ...

    def pending(self) -> Sequence[Response]: ...

    @property
    def drains(self) -> Drains: ...

    @property
    def is_settled(self) -> bool: ...

    @property
    def refused(self) -> dict[str, tuple[str, ...]]: ...


@dataclass(frozen=True, slots=True)
class Service:
    """`type_url` "" for the aggregated service."""

    request: str
    stream: Callable[[], Stream]
    type_url: str = ""

    @property
    def response(self) -> str:
        return _RESPONSES[self.request]

    def read(self, body: bytes) -> Message:
        """Raises: SchemaError; ProtocolError."""
        message = schema.decode(self.request, body)
        request: Any = message
        if self.type_url:
            if request.type_url not in ("", self.type_url):
                raise ProtocolError(f"this service is of {self.type_url} only")
            request.type_url = self.type_url
        return message


def _services() -> dict[str, Service]:
    found = {DELTA_ADS: Service(_DELTA_REQUEST, DeltaStream), SOTW_ADS: Service(_SOTW_REQUEST, SotwStream)}
    for type_url, (service, plural) in _OF_ONE_TYPE.items():
        found[f"/{service}/Delta{plural}"] = Service(_DELTA_REQUEST, DeltaStream, type_url)
        found[f"/{service}/Stream{plural}"] = Service(_SOTW_REQUEST, SotwStream, type_url)
    return found


SERVICES: Final = _services()
