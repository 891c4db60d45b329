"""What Envoy does by it is in tests/integration/test_traffic.py, the whole of it in tests/golden/traffic.out.yaml."""

from __future__ import annotations

from typing import Any

from xds.compile import balancing
from xds.schema import new
from xds.traffic import Hashing, Limits, Outliers, Spread, TrafficPolicy


def a_cluster(traffic: TrafficPolicy | None) -> Any:
    return new("envoy.config.cluster.v3.Cluster", **balancing.cluster(traffic))


def test_where_nothing_is_said_an_endpoint_that_fails_is_left_out_and_retries_are_few() -> None:
    found = a_cluster(None)
    assert found == a_cluster(TrafficPolicy())
    detection = found.outlier_detection
    assert detection.consecutive_gateway_failure.value == 5
    assert detection.enforcing_consecutive_gateway_failure.value == 100
    assert detection.enforcing_consecutive_5xx.value == 0  # an application's own 500 is an answer
    assert detection.max_ejection_percent.value == 50
    (threshold,) = found.circuit_breakers.thresholds
    assert threshold.retry_budget.min_retry_concurrency.value == 64, (
        "a replica that leaves refuses many at once"
    )
    assert not threshold.HasField("max_retries")


def test_a_limit_of_retries_replaces_the_share() -> None:
    (threshold,) = a_cluster(TrafficPolicy(limits=Limits(retries=7))).circuit_breakers.thresholds
    assert (threshold.max_retries.value, threshold.HasField("retry_budget")) == (7, False)


def test_an_error_that_is_not_to_be_counted_is_not_enforced() -> None:
    detection = a_cluster(
        TrafficPolicy(outliers=Outliers(server_errors=0, gateway_errors=2))
    ).outlier_detection
    assert detection.enforcing_consecutive_5xx.value == 0
    assert not detection.HasField("consecutive_5xx")
    assert detection.consecutive_gateway_failure.value == 2
    assert detection.enforcing_consecutive_gateway_failure.value == 100


def test_what_is_not_set_is_left_to_envoy() -> None:
    assert balancing.hashed(None) == balancing.hashed(TrafficPolicy(Spread.RANDOM)) == {}
    assert balancing.http_times(None) == balancing.tcp_times(None) == balancing.streams(None) == {}


def test_seconds_keep_their_fractions() -> None:
    assert balancing.seconds(0.25) == {"seconds": 0, "nanos": 250_000_000}
    assert balancing.seconds(61.0) == {"seconds": 61, "nanos": 0}


def test_requests_are_told_apart_by_one_thing() -> None:
    header = balancing.hashed(TrafficPolicy(hashing=Hashing("x-user")))
    assert header == {"hash_policy": [{"header": {"header_name": "x-user"}}]}
    query = balancing.hashed(TrafficPolicy(hashing=Hashing(query="id")))
    assert query == {"hash_policy": [{"query_parameter": {"name": "id"}}]}
