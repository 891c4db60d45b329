from __future__ import annotations

import pytest

from controlplane.rate_limit import Rate, RateLimiter


def test_a_burst_goes_at_once_and_then_at_the_rate() -> None:
    limiter = RateLimiter(Rate(2.0, 3))
    assert [limiter.take("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limiter.take("a", 0.0) == pytest.approx(0.5)
    assert limiter.take("a", 0.4) == pytest.approx(0.1)
    assert limiter.take("a", 0.5) == 0.0
    assert limiter.take("a", 100.0) == 0.0


def test_what_is_refused_costs_nothing() -> None:
    limiter = RateLimiter(Rate(1.0, 1))
    limiter.take("a", 0.0)
    for _ in range(10):
        limiter.take("a", 0.5)
    assert limiter.take("a", 1.0) == 0.0


def test_keys_do_not_share() -> None:
    limiter = RateLimiter(Rate(1.0, 1))
    assert (limiter.take("a", 0.0), limiter.take("b", 0.0)) == (0.0, 0.0)
    assert limiter.take("a", 0.0) > 0


def test_a_flood_of_keys_is_bounded_and_frees_nobody_who_used_his_share() -> None:
    limiter = RateLimiter(Rate(0.001, 5), max_keys=20)
    for _ in range(5):
        limiter.take("greedy", 0.0)
    for number in range(1000):
        limiter.take(number, 0.0)
    assert limiter.take("greedy", 0.0) > 0
    assert len(limiter._buckets) <= 20
