from __future__ import annotations

from typing import Any

from policies.observe import observed, observed_mode
from policies.program import Clause, DecisionProgram, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds.compile import intercepted
from xds.compile.surroundings import Surroundings
from xds.plan import (
    AppProtocol,
    Destination,
    Endpoint,
    InboundPort,
    Interception,
    OriginalDestination,
    ProxyPlan,
    SocketAddress,
)

NETWORKS = ("172.18.0.0/16",)
REGISTRY_ONLY = Interception(
    (SocketAddress("0.0.0.0", 15006),), (SocketAddress("127.0.0.1", 15001),), NETWORKS
)
ALLOW_ANY = Interception(REGISTRY_ONLY.inbound, REGISTRY_ONLY.outbound, NETWORKS, passthrough=True)
PLAN = ProxyPlan("shop/web", ("example.org",), PathNormalization.BASE, (), None, (), ())
DB = (SocketAddress("172.18.0.3", 5432), SocketAddress("172.18.0.4", 5432), SocketAddress("10.0.0.3", 5432))


def a_service(host: str, port: int, protocol: AppProtocol, *endpoints: SocketAddress) -> Destination:
    return Destination(
        host, port, protocol, tuple(map(Endpoint, endpoints)), (f"spiffe://example.org/ns/shop/sa/{host}",)
    )


def chains(listener: Any) -> dict[str, Any]:
    return {chain.name: chain for chain in listener.filter_chains}


def test_each_tcp_endpoint_has_a_chain_that_scaling_does_not_change() -> None:
    one = chains(intercepted.outbound([a_service("db", 5432, AppProtocol.TCP, DB[0])], REGISTRY_ONLY, PLAN))
    two = chains(intercepted.outbound([a_service("db", 5432, AppProtocol.TCP, *DB[:2])], REGISTRY_ONLY, PLAN))
    assert one["tcp:172.18.0.3:5432"] == two["tcp:172.18.0.3:5432"]
    assert "tcp:172.18.0.4:5432" in two


def test_one_address_belongs_to_one_service() -> None:
    both = [a_service("db", 5432, AppProtocol.TCP, DB[0]), a_service("db.shop", 5432, AppProtocol.TCP, DB[0])]
    listener: Any = intercepted.outbound(both, REGISTRY_ONLY, PLAN)
    matches = [chain.filter_chain_match.SerializeToString() for chain in listener.filter_chains]
    assert len(matches) == len(set(matches))  # Envoy refuses a listener with two chains alike


def test_the_meshs_networks_are_never_passed_through() -> None:
    for taken in (REGISTRY_ONLY, ALLOW_ANY):
        found = chains(intercepted.outbound([a_service("db", 5432, AppProtocol.TCP, DB[0])], taken, PLAN))
        for name in ("closed", "closed:5432"):
            assert [r.address_prefix for r in found[name].filter_chain_match.prefix_ranges] == ["172.18.0.0"]
            assert not found[name].filters  # a chain without a filter closes at once


def test_elsewhere_is_closed_unless_it_is_allowed() -> None:
    closed: Any = intercepted.outbound([], REGISTRY_ONLY, PLAN)
    assert not closed.default_filter_chain.filters
    allowed: Any = intercepted.outbound([], ALLOW_ANY, PLAN)
    assert [f.name for f in allowed.default_filter_chain.filters] == ["envoy.filters.network.tcp_proxy"]


def test_nobody_waits_for_a_client_where_the_server_may_speak_first() -> None:
    services = [
        a_service("db", 5432, AppProtocol.TCP, DB[0]),
        a_service("mixed", 7000, AppProtocol.TCP, SocketAddress("172.18.0.8", 7000)),
        a_service("web", 7000, AppProtocol.HTTP, SocketAddress("172.18.0.9", 7000)),
    ]
    listener: Any = intercepted.outbound(services, REGISTRY_ONLY, PLAN)
    for sniffer in listener.listener_filters[1:]:
        left_out = {rule.destination_port_range.start for rule in sniffer.filter_disabled.or_match.rules}
        assert {5432, 22, 3306} <= left_out
        assert 7000 not in left_out
    assert listener.continue_on_listener_filters_timeout


def test_a_peer_is_called_in_a_network_both_are_in() -> None:
    db = a_service("db", 5432, AppProtocol.TCP, *DB)
    assert intercepted.reachable(db, REGISTRY_ONLY).endpoints == tuple(map(Endpoint, DB[:2]))
    far = a_service("vm", 5432, AppProtocol.TCP, DB[2])
    assert intercepted.reachable(far, REGISTRY_ONLY) == far


def inbound(program: DecisionProgram, mode: MtlsMode) -> Any:
    where = SocketAddress("0.0.0.0", 15006)
    port = InboundPort("db", 5432, AppProtocol.TCP, where, OriginalDestination(), mode, program)
    return intercepted.inbound([(port, Surroundings(("example.org",)))], REGISTRY_ONLY, PLAN)


def test_from_observed_to_enforced_the_plain_chain_goes_and_nothing_else_changes() -> None:
    """What stands beside the chains, or in the chain of mutual TLS, would end every connection when it changed."""
    enforced = DecisionProgram(Protocol.TCP, 5432, allow=(Clause("shop/db[0]", ()),), allow_applies=True)
    strict = inbound(enforced, MtlsMode.STRICT)
    permissive = inbound(observed(enforced, MtlsMode.STRICT), observed_mode(MtlsMode.STRICT))
    assert [chain.name for chain in permissive.filter_chains] == ["db:mtls", "db:plaintext"]
    assert permissive.filter_chains[1].filter_chain_match.transport_protocol == "raw_buffer"
    del permissive.filter_chains[1]
    assert permissive == strict
