"""ProxyPlan → Snapshot: pure, deterministic, a file a concern.

clusters and endpoints, tls, listeners, filters (and their order), routes, rbac (with its matcher tree and the
keys it looks at), access_log. Nothing here decides what a rule means or who may call whom.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from xds import names
from xds.compile import clusters, listeners, rbac, routes
from xds.plan import Destination, ProxyPlan
from xds.snapshot import Resource, Snapshot


def compile_plan(plan: ProxyPlan) -> Snapshot:
    """Every resource the proxy needs; an upstream whose service is out of scope gets no listener."""
    return Snapshot.of(Resource.of(name, message) for name, message in _resources(plan))


def _resources(plan: ProxyPlan) -> Iterator[tuple[str, Message]]:
    for port in plan.inbound:
        yield names.app_cluster(port.name), clusters.app(port)
        yield names.inbound(port.name), listeners.inbound(port, plan)
        extension = rbac.extension(port.name, port.program, plan.trust_domains)
        yield names.authorization(port.name), extension
    reachable: dict[tuple[str, int], Destination] = {}
    for target in plan.destinations:
        reachable[target.host, target.port] = target
        name = names.destination(target.host, target.port)
        yield name, clusters.destination(target)
        yield name, clusters.endpoints(target)
    if plan.http_proxy is not None:
        yield names.OUTBOUND_HTTP, listeners.outbound_http(plan.http_proxy, plan)
        yield names.OUTBOUND_HTTP, routes.outbound(plan.destinations)
    for declared in plan.upstreams:
        target = reachable.get((declared.host, declared.port))
        if target is None:
            continue
        yield names.upstream(declared.name), listeners.upstream(declared, target, plan)
        if target.protocol.is_http:
            yield names.upstream(declared.name), routes.upstream(declared.name, target)
