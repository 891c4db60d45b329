"""The hinge: what one proxy needs, in the mesh's words, before any Envoy message exists.

Everything upstream of here (resources, policy, registry) ends in a `ProxyPlan`; everything downstream
(`xds.compile`) starts from one. A plan is a value: equal plans compile to equal bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from policies.program import DecisionProgram
from policies.workload import MtlsMode, PathNormalization
from xds.traffic import TrafficPolicy


class AppProtocol(StrEnum):
    """How a service's port speaks, as a ServiceEntry names it."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    TCP = "TCP"

    @property
    def is_http(self) -> bool:
        return self is not AppProtocol.TCP

    @property
    def is_http2(self) -> bool:
        return self in (AppProtocol.HTTP2, AppProtocol.GRPC)


class AccessLog(StrEnum):
    """Which requests a sidecar writes to its standard output, one JSON object a line."""

    OFF = "off"
    DENIED = "denied"
    ALL = "all"


@dataclass(frozen=True, slots=True, order=True)
class SocketAddress:
    host: str  # an IP address
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class PipeAddress:
    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


Address = SocketAddress | PipeAddress


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """Where a workload runs; "" what is not known."""

    region: str = ""
    zone: str = ""
    subzone: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """`priority` as one caller sees it: 0 is called first, the next while too few of those are healthy."""

    address: SocketAddress
    locality: Locality = Locality()
    priority: int = 0


@dataclass(frozen=True, slots=True)
class OriginalDestination:
    """Wherever the connection was going before it was redirected."""


@dataclass(frozen=True, slots=True)
class Interception:
    """All TCP of the workload's network namespace is redirected to its sidecar.

    What comes in arrives at `inbound`, what goes out at `outbound`, each with the address it was meant for.
    `networks` (CIDR) are those the workload is in: peers are reached there, and nothing goes there in plain text.
    `passthrough`: what is meant for elsewhere and for no service goes on as it is; otherwise it is closed.
    """

    inbound: tuple[SocketAddress, ...]
    outbound: tuple[SocketAddress, ...]
    networks: tuple[str, ...]
    passthrough: bool = False


@dataclass(frozen=True, slots=True)
class InboundPort:
    """One port of the proxy's own workload: mTLS comes in at `listen`, plain bytes go to `app`.

    `port` is what policies call destination.port; without interception `listen` may differ from it. `cut` changes
    when somebody who may be connected is cut off: connections of before are ended.
    """

    name: str
    port: int
    protocol: AppProtocol
    listen: SocketAddress
    app: Address | OriginalDestination
    mtls: MtlsMode
    program: DecisionProgram
    cut: str = ""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Destination:
    """One port of a service this proxy may call.

    `identities` are the SPIFFE IDs its endpoints may present, sorted; `mtls` is false only where every
    endpoint's PeerAuthentication says DISABLE. `cut` as in `InboundPort`. `traffic` None: as every destination's.
    """

    host: str
    port: int
    protocol: AppProtocol
    endpoints: tuple[Endpoint, ...]
    identities: tuple[str, ...]
    mtls: bool = True
    cut: str = ""
    traffic: TrafficPolicy | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """A declared upstream: a loopback port of the workload that leads to one port of a service."""

    name: str
    listen: SocketAddress
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """`node_id` is `<namespace>/<WorkloadEntry name>`. `trust_domains`: its own first, then its aliases.

    `trusted_proxies`: how many in front are believed about the client's address. `jwks`: the fetched keys that
    the inbound programs need, by where they came from. `proxyless`: a gRPC process reads it, there is no Envoy.
    """

    node_id: str
    trust_domains: tuple[str, ...]
    path_normalization: PathNormalization
    inbound: tuple[InboundPort, ...]
    http_proxy: SocketAddress | None
    destinations: tuple[Destination, ...]
    upstreams: tuple[Upstream, ...]
    access_log: AccessLog = AccessLog.DENIED
    trusted_proxies: int = 0
    explain_denials: bool = False
    jwks: tuple[tuple[str, str], ...] = ()
    interception: Interception | None = None
    proxyless: bool = False
