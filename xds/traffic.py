"""How a caller's sidecar spreads requests over a service's endpoints, what it bounds, whom it leaves out for a while.

Values only. Where a field is 0 or None, Envoy's own default holds, or what `xds.compile.balancing` says. Times are
seconds. Source: istio.io DestinationRule reference, TrafficPolicy
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Spread(StrEnum):
    LEAST_REQUEST = "LEAST_REQUEST"
    ROUND_ROBIN = "ROUND_ROBIN"
    RANDOM = "RANDOM"


@dataclass(frozen=True, slots=True)
class Cookie:
    """`ttl` 0: for the session. Envoy sets it where a request has none."""

    name: str
    path: str = ""
    ttl: float = 0.0


@dataclass(frozen=True, slots=True)
class Hashing:
    """Requests with the same header, cookie or query parameter go to the same endpoint: one of the three is set.

    `maglev`: by Maglev instead of a ring; `size`: the least size of the ring, or the size of the table.
    """

    header: str = ""
    cookie: Cookie | None = None
    query: str = ""
    maglev: bool = False
    size: int = 0


@dataclass(frozen=True, slots=True)
class Keepalive:
    probes: int = 0
    time: int = 0
    interval: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """`idle` ends connections on which no request is; `tcp_idle` raw TCP on which no byte moves."""

    connections: int = 0
    connect_timeout: float = 0.0
    keepalive: Keepalive | None = None
    connection_duration: float = 0.0
    tcp_idle: float = 0.0
    pending_requests: int = 0
    requests: int = 0
    requests_per_connection: int = 0
    concurrent_streams: int = 0
    retries: int = 0
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Outliers:
    """An endpoint that fails so often in a row is left out. None: Envoy's default; 0: is not looked at.

    `local_failures` (of connections) are counted by themselves where `split` says so.
    """

    gateway_errors: int | None = None
    server_errors: int | None = None
    local_failures: int | None = None
    split: bool = False
    interval: float = 0.0
    ejection: float = 0.0
    most_percent: int = 0
    least_healthy_percent: int = 0


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """`outliers` None: the default of every destination."""

    spread: Spread = Spread.LEAST_REQUEST
    hashing: Hashing | None = None
    limits: Limits = Limits()
    outliers: Outliers | None = None
