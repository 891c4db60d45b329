from __future__ import annotations

from xds.meter import Meter
from xds.snapshot import CLUSTER


def test_a_push_is_measured_from_the_oldest_edit_a_proxy_does_not_hold() -> None:
    meter = Meter()
    meter.waiting("a", 10.0)
    meter.waiting("a", 10.5)
    meter.settled("a", 10.02)
    meter.settled("a", 99.0)
    lines = list(meter.lines())
    assert 'pylis_xds_push_seconds_bucket{le="0.01"} 0' in lines
    assert 'pylis_xds_push_seconds_bucket{le="0.025"} 1' in lines
    assert 'pylis_xds_push_seconds_bucket{le="+Inf"} 1' in lines
    assert "pylis_xds_push_seconds_count 1" in lines


def test_what_is_refused_is_no_push_and_waits_no_more() -> None:
    meter = Meter()
    meter.waiting("a", 10.0)
    meter.settled("a", 10.02, refused=True)
    lines = list(meter.lines())
    assert "pylis_xds_push_seconds_count 0" in lines and "pylis_xds_waiting 0" in lines


def test_who_goes_waits_no_more() -> None:
    meter = Meter()
    meter.waiting("a", 10.0)
    assert "pylis_xds_waiting 1" in list(meter.lines())
    meter.disconnected("a")
    assert "pylis_xds_waiting 0" in list(meter.lines())


def test_responses_bytes_and_refusals_are_counted_by_type() -> None:
    meter = Meter()
    meter.sent(CLUSTER, 100)
    meter.sent(CLUSTER, 50)
    meter.nacked(CLUSTER)
    lines = list(meter.lines())
    assert 'pylis_xds_responses_total{type="Cluster"} 2' in lines
    assert 'pylis_xds_bytes_total{type="Cluster"} 150' in lines
    assert 'pylis_xds_nacks_total{type="Cluster"} 1' in lines
