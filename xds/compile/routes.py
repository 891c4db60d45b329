"""Routes: everything inbound to the application; outbound by host to the services in scope, all else refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from google.protobuf.message import Message

from xds import names
from xds.compile.balancing import hashed
from xds.plan import Destination, SocketAddress
from xds.schema import new, pack

_ROUTE: Final = "envoy.config.route.v3"
_NEXT_PRIORITY: Final = "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
_PREVIOUS: Final = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
# an endpoint that refuses connections has the fewest requests, so of two it is chosen three times in four: how often a
# retry may be given it again before it has to take it
_CHOICES: Final = 50
OUT_OF_SCOPE: Final = (
    "pylis: this workload may call no service of that name and port; "
    "it is not registered, no policy allows it, or a Sidecar leaves it out (see: pylis explain)\n"
)


def inbound(port_name: str) -> Message:
    """All requests that passed authorization go to the application."""
    action = {"cluster": names.app_cluster(port_name), **_no_timeout()}
    host = {"name": "app", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}
    return new(f"{_ROUTE}.RouteConfiguration", name=names.inbound(port_name), virtual_hosts=[host])


def outbound(destinations: Sequence[Destination]) -> Message:
    """The proxy listener's routes: `host:port`, and `host` alone where its port is 80."""
    return _outbound(names.OUTBOUND_HTTP, destinations, _refusal())


def elsewhere(destinations: Sequence[Destination]) -> Message:
    """The same for what leaves the mesh's networks: a host nobody serves is left to itself."""
    action = {"cluster": names.PASSTHROUGH, **_no_timeout()}
    rest = {"name": "elsewhere", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}
    return _outbound(names.ELSEWHERE, destinations, new(f"{_ROUTE}.VirtualHost", **rest))


def _outbound(name: str, destinations: Sequence[Destination], rest: Message) -> Message:
    by_address: dict[str, str] = {}  # an address belongs to the first service that has it
    for target in destinations:
        for address in (text for one in target.endpoints for text in _by_address(one.address)):
            by_address.setdefault(address, names.destination(target.host, target.port))
    hosts = [_virtual_host(target, by_address) for target in destinations]
    return new(
        f"{_ROUTE}.RouteConfiguration",
        name=name,
        virtual_hosts=[*hosts, rest],
        validate_clusters={"value": False},
    )


def upstream(name: str, target: Destination) -> Message:
    """Everything on one loopback port goes to one service, under the service's own name."""
    cluster = names.destination(target.host, target.port)
    action = {
        "cluster": cluster,
        "host_rewrite_literal": cluster,
        **_no_timeout(),
        **_retries(),
        **hashed(target.traffic),
    }
    host = {"name": cluster, "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}
    return new(
        f"{_ROUTE}.RouteConfiguration",
        name=names.upstream(name),
        virtual_hosts=[host],
        validate_clusters={"value": False},
    )


def _virtual_host(target: Destination, by_address: Mapping[str, str]) -> Message:
    cluster = names.destination(target.host, target.port)
    domains = [cluster, *([target.host] if target.port == 80 else [])]
    domains += sorted(address for address, owner in by_address.items() if owner == cluster)
    # a CONNECT is ended here: its bytes travel to the service inside our own mTLS
    tunnel: dict[str, object] = {
        "cluster": cluster,
        "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
    }
    routes: list[dict[str, object]] = [
        {"match": {"connect_matcher": {}}, "route": {**tunnel, **_no_timeout()}}
    ]
    if target.protocol.is_http:
        action = {"cluster": cluster, **_no_timeout(), **_retries(), **hashed(target.traffic)}
        routes.append({"match": {"prefix": "/"}, "route": action})
    return new(f"{_ROUTE}.VirtualHost", name=cluster, domains=domains, routes=routes)


def _by_address(endpoint: SocketAddress) -> list[str]:
    """Callers that found the address themselves write it as the host."""
    bare = str(endpoint).rpartition(":")[0]
    return [str(endpoint), *([bare] if endpoint.port == 80 else [])]


def _refusal() -> Message:
    answer = {"status": 403, "body": {"inline_string": OUT_OF_SCOPE}}
    matches: list[dict[str, object]] = [{"connect_matcher": {}}, {"prefix": "/"}]
    routes = [{"match": match, "direct_response": answer} for match in matches]
    return new(f"{_ROUTE}.VirtualHost", name="out-of-scope", domains=["*"], routes=routes)


def _no_timeout() -> dict[str, object]:
    """Streams and long polls are the application's business."""
    return {"timeout": {"seconds": 0}}


def _retries() -> dict[str, object]:
    """Only where nothing of the request can have reached the application; another endpoint's turn, farther away if need be."""
    return {
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset-before-request",
            "num_retries": {"value": 2},
            "retry_host_predicate": [
                {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": pack(new(_PREVIOUS))}
            ],
            "host_selection_retry_max_attempts": _CHOICES,
            "retry_priority": {
                "name": "envoy.retry_priorities.previous_priorities",
                "typed_config": pack(new(_NEXT_PRIORITY, update_frequency=1)),
            },
        }
    }
