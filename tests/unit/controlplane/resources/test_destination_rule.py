from __future__ import annotations

from typing import Any

import pytest

from controlplane.resources import destination_rule
from controlplane.resources.destination_rule import DestinationRule, LocalityPreference
from policies.document import Document
from xds.traffic import Cookie, Hashing, Keepalive, Limits, Outliers, Spread, TrafficPolicy


def read(spec: dict[str, Any]) -> tuple[DestinationRule | None, list[tuple[str, str]]]:
    document = Document(
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "DestinationRule",
            "metadata": {"name": "orders", "namespace": "shop"},
            "spec": spec,
        }
    )
    found, problems = destination_rule.parse(document)
    return found, [(problem.path, problem.code) for problem in problems]


def policy(**traffic: Any) -> TrafficPolicy:
    found, problems = read({"host": "orders.shop", "trafficPolicy": traffic})
    assert found is not None, problems
    return found.policy.traffic


def test_a_rule_that_says_nothing_is_as_if_there_were_none() -> None:
    found, _ = read({"host": "orders.shop"})
    assert found is not None
    assert (found.policy.traffic, found.export_to) == (TrafficPolicy(), ("*",))


def test_limits_are_read() -> None:
    tcp = {
        "maxConnections": 1, "connectTimeout": "1500ms", "idleTimeout": "1h", "maxConnectionDuration": "2m",
        "tcpKeepalive": {"probes": 3, "time": "60s", "interval": "5s"},
    }  # fmt: skip
    http = {
        "http1MaxPendingRequests": 2, "http2MaxRequests": 3, "maxRequestsPerConnection": 4, "maxRetries": 5,
        "idleTimeout": "1s", "maxConcurrentStreams": 6,
    }  # fmt: skip
    assert policy(connectionPool={"tcp": tcp, "http": http}).limits == Limits(
        1, 1.5, Keepalive(3, 60, 5), 120.0, 3600.0, 2, 3, 4, 6, 5, 1.0
    )


@pytest.mark.parametrize(
    ("balancer", "spread", "hashing"),
    [
        ({}, Spread.LEAST_REQUEST, None),
        ({"simple": "RANDOM"}, Spread.RANDOM, None),
        ({"consistentHash": {"httpHeaderName": "x-user"}}, Spread.LEAST_REQUEST, Hashing("x-user")),
        (
            {"consistentHash": {"httpQueryParameterName": "id", "ringHash": {"minimumRingSize": 64}}},
            Spread.LEAST_REQUEST,
            Hashing(query="id", size=64),
        ),
        (
            {"consistentHash": {"httpCookie": {"name": "c", "path": "/", "ttl": "0s"}, "maglev": {}}},
            Spread.LEAST_REQUEST,
            Hashing(cookie=Cookie("c", "/"), maglev=True),
        ),
    ],
)
def test_load_balancing_is_read(balancer: dict[str, Any], spread: Spread, hashing: Hashing | None) -> None:
    found = policy(loadBalancer=balancer)
    assert (found.spread, found.hashing) == (spread, hashing)


def test_outlier_detection_tells_zero_from_nothing() -> None:
    assert policy().outliers is None
    assert policy(outlierDetection={}).outliers == Outliers()
    found = policy(outlierDetection={"consecutive5xxErrors": 0, "interval": "1s", "maxEjectionPercent": 100})
    assert found.outliers == Outliers(server_errors=0, interval=1.0, most_percent=100)


def test_settings_of_a_port_replace_those_of_the_rule_whole() -> None:
    port = {"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}
    traffic = {
        "connectionPool": {"tcp": {"maxConnections": 1}},
        "loadBalancer": {"localityLbSetting": {"enabled": False, "failover": [{"from": "eu", "to": "us"}]}},
        "portLevelSettings": [port],
    }
    found, _ = read({"host": "*.shop", "trafficPolicy": traffic})
    assert found is not None
    assert found.of_port(80).traffic == TrafficPolicy(Spread.RANDOM)
    assert found.of_port(80).locality == LocalityPreference()
    assert found.of_port(81).traffic == TrafficPolicy(limits=Limits(1))
    assert found.of_port(81).locality == LocalityPreference(enabled=False, failover=(("eu", "us"),))


@pytest.mark.parametrize(
    ("exported", "own", "other"),
    [([], True, True), (["."], True, False), (["ops"], False, True), (["*"], True, True)],
)
def test_a_rule_is_for_the_namespaces_it_is_exported_to(exported: list[str], own: bool, other: bool) -> None:
    found, _ = read({"host": "a", "exportTo": exported})
    assert found is not None
    assert (found.is_visible_in("shop"), found.is_visible_in("ops")) == (own, other)


_TRAFFIC = "spec.trafficPolicy"


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, "spec.host"),
        ({"host": "Orders"}, "spec.host"),
        ({"host": "*orders"}, "spec.host"),
        ({"host": "a", "subsets": [{"name": "v1"}]}, "spec.subsets"),
        ({"host": "a", "workloadSelector": {"matchLabels": {"app": "a"}}}, "spec.workloadSelector"),
        ({"host": "a", "exportTo": ["~x"]}, "spec.exportTo[0]"),
        *(
            ({"host": "a", "trafficPolicy": traffic}, f"{_TRAFFIC}.{path}")
            for traffic, path in (
                ({"tls": {"mode": "DISABLE"}}, "tls.mode"),
                ({"tls": {"mode": "MUTUAL"}}, "tls.mode"),
                ({"tls": {}}, "tls.mode"),
                ({"tls": {"mode": "ISTIO_MUTUAL", "sni": "x"}}, "tls.sni"),
                ({"tunnel": {}}, "tunnel"),
                ({"proxyProtocol": {}}, "proxyProtocol"),
                ({"retryBudget": {}}, "retryBudget"),
                ({"loadBalancer": {"simple": "PASSTHROUGH"}}, "loadBalancer.simple"),
                ({"loadBalancer": {"warmup": {}}}, "loadBalancer.warmup"),
                ({"loadBalancer": {"simple": "RANDOM", "consistentHash": {"httpHeaderName": "x"}}}, "loadBalancer.consistentHash"),
                ({"loadBalancer": {"consistentHash": {}}}, "loadBalancer.consistentHash"),
                ({"loadBalancer": {"consistentHash": {"useSourceIp": True}}}, "loadBalancer.consistentHash.useSourceIp"),
                ({"loadBalancer": {"consistentHash": {"httpHeaderName": "x", "maglev": {"tableSize": 100}}}}, "loadBalancer.consistentHash.maglev.tableSize"),
                ({"loadBalancer": {"localityLbSetting": {"distribute": []}}}, "loadBalancer.localityLbSetting.distribute"),
                ({"loadBalancer": {"localityLbSetting": {"failoverPriority": []}}}, "loadBalancer.localityLbSetting.failoverPriority"),
                ({"loadBalancer": {"localityLbSetting": {"failover": [{"from": "a", "to": "a"}]}}}, "loadBalancer.localityLbSetting.failover[0].to"),
                ({"connectionPool": {"tcp": {"connectTimeout": "1"}}}, "connectionPool.tcp.connectTimeout"),
                ({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}}, "connectionPool.http.h2UpgradePolicy"),
                ({"outlierDetection": {"consecutiveErrors": 1}}, "outlierDetection.consecutiveErrors"),
                ({"outlierDetection": {"consecutiveLocalOriginFailures": 1}}, "outlierDetection.consecutiveLocalOriginFailures"),
                ({"portLevelSettings": [{"port": {"number": 80}, "tunnel": {}}]}, "portLevelSettings[0].tunnel"),
                ({"portLevelSettings": [{"port": {"number": 80}}, {"port": {"number": 80}}]}, "portLevelSettings[1].port.number"),
            )
        ),
    ],
)  # fmt: skip
def test_what_would_not_be_followed_is_refused_where_it_stands(spec: dict[str, Any], path: str) -> None:
    found, problems = read(spec)
    assert found is None
    assert path in [where for where, _ in problems]
