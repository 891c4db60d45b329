"""ProxyPlan → Snapshot: pure, deterministic, a file a concern.

clusters and endpoints, tls, listeners, filters (and their order), routes, rbac (with its matcher tree and the
keys it looks at), access_log. Nothing here decides what a rule means or who may call whom.

A plan is compiled part by part; a `Compiler` remembers parts, so that replicas of a workload share what is equal
and an edit costs what it changed. A part is given nothing but what it may depend on:

    port        one InboundPort with no more of its program than a listener holds, and the plan's settings
    program     one DecisionProgram and its surroundings: the authorization of a port
    destination one Destination: cluster and endpoints
    outbound    one loopback listener; and its routes, which depend on all destinations
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Final

from policies.program import DecisionProgram
from xds import names
from xds.compile import clusters, listeners, rbac, routes
from xds.compile.memo import ByIdentity, Recent
from xds.compile.surroundings import Surroundings
from xds.plan import Destination, InboundPort, ProxyPlan, Upstream
from xds.snapshot import Resource, Snapshot

_KEPT: Final = 20_000  # listeners: at most a few a proxy

Parts = tuple[Resource, ...]


def compile_plan(plan: ProxyPlan) -> Snapshot:
    """Every resource the proxy needs; an upstream whose service is out of scope gets no listener."""
    return Compiler().snapshot(plan)


class Compiler:
    """`snapshot` gives what `compile_plan` gives. One thread."""

    def __init__(self) -> None:
        self._programs: ByIdentity[DecisionProgram, dict[Hashable, Parts]] = ByIdentity()
        self._destinations: ByIdentity[Destination, Parts] = ByIdentity()
        self._recent: Recent[Parts] = Recent(_KEPT)

    def snapshot(self, plan: ProxyPlan, previous: Snapshot | None = None) -> Snapshot:
        """Shares with `previous`, what the proxy held before, all that did not change."""
        settings = replace(
            plan, node_id="", inbound=(), http_proxy=None, destinations=(), upstreams=(), jwks=()
        )
        keys, places = dict(plan.jwks), {(d.host, d.port) for d in plan.destinations}
        found: list[Resource] = []
        for port in plan.inbound:
            bare = replace(port, program=listeners.needed(port.program))
            near = Surroundings.of(bare.program, plan.trust_domains, places, keys)
            found += self._recent.get((bare, near, settings), lambda b=bare, n=near: _port(b, n, settings))
            around = Surroundings.of(port.program, plan.trust_domains, places, keys)
            found += self._authorization(port, around)
        for target in plan.destinations:
            found += self._destinations.get(target, _destination)
        for make, key in _outbound(plan, settings):
            found += self._recent.get(key, make)
        return Snapshot.of(found, previous)

    def _authorization(self, port: InboundPort, around: Surroundings) -> Parts:
        known = self._programs.get(port.program, lambda _: {})
        key = (port.name, around)
        if key not in known:
            message = rbac.extension(port.name, port.program, around)
            known[key] = (Resource.of(names.authorization(port.name), message),)
        return known[key]


def _port(port: InboundPort, near: Surroundings, settings: ProxyPlan) -> Parts:
    return (
        Resource.of(names.app_cluster(port.name), clusters.app(port)),
        Resource.of(names.inbound(port.name), listeners.inbound(port, near, settings)),
    )


def _destination(target: Destination) -> Parts:
    name = names.destination(target.host, target.port)
    return (
        Resource.of(name, clusters.destination(target)),
        Resource.of(name, clusters.endpoints(target)),
    )


def _outbound(plan: ProxyPlan, settings: ProxyPlan) -> list[tuple[Callable[[], Parts], Hashable]]:
    """Each with the key of all it depends on: of a destination, routes and listeners look at no endpoint."""
    parts: list[tuple[Callable[[], Parts], Hashable]] = []
    reachable = {(d.host, d.port): _bare(d) for d in plan.destinations}
    bare = tuple(reachable.values())
    if (proxy := plan.http_proxy) is not None:
        name = names.OUTBOUND_HTTP
        listener = lambda: (Resource.of(name, listeners.outbound_http(proxy, settings)),)  # noqa: E731
        parts.append((listener, (proxy, settings)))
        parts.append((lambda: (Resource.of(name, routes.outbound(bare)),), bare))
    for declared in plan.upstreams:
        target = reachable.get((declared.host, declared.port))
        if target is not None:
            parts.append(
                (lambda d=declared, t=target: _upstream(d, t, settings), (declared, target, settings))
            )
    return parts


def _bare(target: Destination) -> Destination:
    return replace(target, endpoints=(), identities=())


def _upstream(declared: Upstream, target: Destination, settings: ProxyPlan) -> Parts:
    name = names.upstream(declared.name)
    listener = Resource.of(name, listeners.upstream(declared, target, settings))
    if not target.protocol.is_http:
        return (listener,)
    return listener, Resource.of(name, routes.upstream(declared.name, target))
