"""A delta client by hand: what it asks, acknowledges and refuses, and snapshots of resources that are only names and versions."""

from __future__ import annotations

from typing import Any

from xds import schema
from xds.snapshot import CLUSTER, Resource, Snapshot
from xds.stream import DeltaStream

REQUEST = "envoy.service.discovery.v3.DeltaDiscoveryRequest"


def a_resource(type_url: str, name: str, version: str = "1") -> Resource:
    return Resource(type_url, name, f"{name}@{version}".encode(), version)


def a_snapshot(*resources: tuple[str, str, str]) -> Snapshot:
    return Snapshot.of(a_resource(*one) for one in resources)


def ask(type_url: str, *names: str, drop: tuple[str, ...] = (), **fields: object) -> Any:
    return schema.new(
        REQUEST,
        type_url=type_url,
        resource_names_subscribe=list(names),
        resource_names_unsubscribe=list(drop),
        **fields,
    )


def ack(response: Any, *names: str, drop: tuple[str, ...] = ()) -> Any:
    return ask(response.type_url, *names, drop=drop, response_nonce=response.nonce)


def nack(response: Any, words: str) -> Any:
    return ask(response.type_url, response_nonce=response.nonce, error_detail={"code": 13, "message": words})


def pending(stream: DeltaStream) -> list[Any]:
    return list(stream.pending())


def only(stream: DeltaStream) -> Any:
    (response,) = pending(stream)
    return response


def sent(response: Any) -> dict[str, str]:
    return {resource.name: resource.version for resource in response.resources}


def a_stream(*resources: tuple[str, str, str], first: Any = None) -> DeltaStream:
    """Opened by a CDS wildcard unless told otherwise."""
    stream = DeltaStream()
    stream.receive(first or ask(CLUSTER))
    stream.offer(a_snapshot(*resources))
    return stream
