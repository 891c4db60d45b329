from __future__ import annotations

from controlplane.pace import LONGEST, SHORTEST, Pace


def test_a_lone_edit_does_not_wait() -> None:
    pace = Pace()
    assert pace.wait(100.0) == 0
    pace.taken(100.001, 0.001)
    assert pace.wait(101.0) == 0


def test_a_burst_waits_in_proportion_to_what_a_batch_costs() -> None:
    pace = Pace()
    pace.taken(100.0, 0.0)
    assert abs(pace.wait(100.0) - SHORTEST) < 1e-9
    pace.taken(200.0, 0.01)
    pace.taken(200.0, 0.01)
    assert abs(pace.wait(200.0) - 0.04) < 1e-9
    assert 0 < pace.wait(200.02) < 0.04


def test_one_batch_that_took_long_delays_nobody() -> None:
    pace = Pace()
    for cost in (0.001, 0.5, 0.001):  # a garbage collection fell into it
        pace.taken(100.0, cost)
        assert abs(pace.wait(100.0) - SHORTEST) < 1e-9


def test_no_edit_waits_for_ever() -> None:
    pace = Pace()
    pace.taken(0.0, 10.0)
    pace.taken(10.0, 10.0)
    assert pace.wait(10.0) == LONGEST
