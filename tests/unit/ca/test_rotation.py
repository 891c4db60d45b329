from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ca.rotation import Lifetime, must_replace, renew_at, until_replacement

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = Lifetime(START, START + timedelta(hours=24))


@pytest.mark.parametrize(
    ("hours", "due"), [(-1, True), (0, False), (11.9, False), (12, True), (23, True), (30, True)]
)
def test_an_authority_is_replaced_at_half_of_its_life_or_when_the_clock_jumped(
    hours: float, due: bool
) -> None:
    assert must_replace(DAY, START + timedelta(hours=hours)) is due


def test_the_wait_ends_at_half_and_is_never_negative() -> None:
    assert until_replacement(DAY, START + timedelta(hours=2)) == timedelta(hours=10)
    assert until_replacement(DAY, START + timedelta(hours=20)) == timedelta(0)


def test_renewal_is_spread_around_half_of_a_leafs_life() -> None:
    hour = Lifetime(START, START + timedelta(minutes=60))
    moments = [renew_at(hour, jitter) - START for jitter in (0.0, 0.5, 1.0)]
    assert [round(m.total_seconds() / 60) for m in moments] == [27, 30, 33]
