"""A simulated sidecar, without I/O: asks in the order Envoy asks, holds names and versions, acknowledges everything.

Clusters and listeners by wildcard; endpoints, routes and extensions by the names it finds in those. A reconnect
says what is held, so that nothing is sent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from xds import schema
from xds.snapshot import CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTES

_REQUEST: Final = "envoy.service.discovery.v3.DeltaDiscoveryRequest"
_RESPONSE: Final = "envoy.service.discovery.v3.DeltaDiscoveryResponse"
_HCM: Final = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_WILDCARD: Final = (CLUSTER, LISTENER)
_FOLLOWS: Final = {CLUSTER: (ENDPOINTS,), LISTENER: (EXTENSION, ROUTES)}


@dataclass(slots=True)
class _Type:
    held: dict[str, str] = field(default_factory=dict[str, str])
    wanted: set[str] = field(default_factory=set[str])
    opened: bool = False
    answered: bool = False


@dataclass(slots=True)
class Sidecar:
    """`refuse`: answer the next response with a NACK."""

    node_id: str
    resources: int = 0  # received since the last `reset`
    bytes: int = 0
    responses: int = 0
    refuse: bool = False
    _types: dict[str, _Type] = field(
        default_factory=lambda: {t: _Type() for t in (CLUSTER, ENDPOINTS, LISTENER, EXTENSION, ROUTES)}
    )
    _references: dict[tuple[str, str], dict[str, set[str]]] = field(
        default_factory=dict[tuple[str, str], dict[str, set[str]]]
    )

    def open(self) -> list[bytes]:
        """The first requests of a (new) stream."""
        for state in self._types.values():
            state.opened = state.answered = False
        first = self._ask(
            CLUSTER, node={"id": self.node_id, "cluster": "bench", "user_agent_name": "pylis-bench"}
        )
        return [first, *self._follow(CLUSTER)] if self._types[CLUSTER].held else [first]

    def receive(self, body: bytes) -> list[bytes]:
        """What to say to a response."""
        r: Any = schema.decode(_RESPONSE, body)
        self.responses += 1
        self.bytes += len(body)
        self.resources += len(r.resources)
        if self.refuse:
            self.refuse = False
            error = {"code": 13, "message": "pylis bench: refused on purpose"}
            return [self._request(r.type_url, response_nonce=r.nonce, error_detail=error)]
        state = self._types[r.type_url]
        state.answered = True
        for resource in r.resources:
            state.held[resource.name] = resource.version
            if r.type_url in _FOLLOWS:
                self._references[r.type_url, resource.name] = _references(r.type_url, resource.resource.value)
        for name in r.removed_resources:
            state.held.pop(name, None)
            self._references.pop((r.type_url, name), None)
        return [self._request(r.type_url, response_nonce=r.nonce), *self._follow(r.type_url)]

    @property
    def is_complete(self) -> bool:
        """Does it hold everything that what it holds refers to?"""
        named = all(state.wanted <= state.held.keys() for state in self._types.values())
        return named and bool(self._types[CLUSTER].held) and bool(self._types[LISTENER].held)

    def versions(self) -> dict[str, dict[str, str]]:
        return {t: dict(state.held) for t, state in self._types.items()}

    def reset(self) -> None:
        """Counters only."""
        self.resources = self.bytes = self.responses = 0

    def forget(self) -> None:
        """Everything it holds, as a process that is new."""
        for state in self._types.values():
            state.held.clear()
            state.wanted.clear()
        self._references.clear()

    def _follow(self, type_url: str) -> Iterator[bytes]:
        """What is asked for after an answer: the names found in it, and after clusters the listeners."""
        for follower in _FOLLOWS.get(type_url, ()):
            state = self._types[follower]
            found = [
                refs.get(follower, set[str]()) for (t, _), refs in self._references.items() if t == type_url
            ]
            wanted = set[str]().union(*found)
            new, gone = wanted - state.wanted, state.wanted - wanted
            state.wanted = wanted
            for name in gone:
                state.held.pop(name, None)
            if not state.opened and wanted:
                yield self._ask(follower)
            elif new or gone:
                yield self._request(
                    follower, resource_names_subscribe=sorted(new), resource_names_unsubscribe=sorted(gone)
                )
        if type_url == CLUSTER and not self._types[LISTENER].opened:
            yield self._ask(LISTENER)
            if self._types[LISTENER].held:
                yield from self._follow(LISTENER)

    def _ask(self, type_url: str, **more: object) -> bytes:
        state = self._types[type_url]
        state.opened = True
        names = [] if type_url in _WILDCARD else sorted(state.wanted)
        return self._request(
            type_url, resource_names_subscribe=names, initial_resource_versions=dict(state.held), **more
        )

    def _request(self, type_url: str, **fields: object) -> bytes:
        return schema.encode(schema.new(_REQUEST, type_url=type_url, **fields))


def _references(type_url: str, body: bytes) -> dict[str, set[str]]:
    if type_url == CLUSTER:
        cluster: Any = schema.decode("envoy.config.cluster.v3.Cluster", body)
        if not cluster.HasField("eds_cluster_config"):
            return {}
        return {ENDPOINTS: {cluster.eds_cluster_config.service_name or cluster.name}}
    listener: Any = schema.decode("envoy.config.listener.v3.Listener", body)
    extensions, routes = set[str](), set[str]()
    for chain in listener.filter_chains:
        for one in chain.filters:
            if one.HasField("config_discovery"):
                extensions.add(one.name)
            elif one.typed_config.type_url.endswith(_HCM):
                manager: Any = schema.decode(_HCM, one.typed_config.value)
                extensions.update(f.name for f in manager.http_filters if f.HasField("config_discovery"))
                if manager.HasField("rds"):
                    routes.add(manager.rds.route_config_name)
    return {EXTENSION: extensions, ROUTES: routes}
