"""A certificate that has just been signed tells how far a clock is off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from agent import clock
from ca.profile import leaf_backdate
from ca.rotation import Lifetime

SIGNED = datetime(2026, 6, 1, 12, tzinfo=UTC)


def a_life(ttl: timedelta) -> Lifetime:
    return Lifetime(SIGNED - leaf_backdate(ttl), SIGNED + ttl)


@pytest.mark.parametrize("minutes", [1, 30, 55, 56, 60, 720])
@pytest.mark.parametrize("off", [-600.0, -6.0, 6.0, 600.0])
def test_a_clock_that_is_off_is_told_by_how_much(minutes: int, off: float) -> None:
    now = SIGNED - timedelta(seconds=off)
    assert clock.seconds_behind(a_life(timedelta(minutes=minutes)), now) == pytest.approx(off, abs=0.001)


def test_the_time_that_signing_and_sending_takes_is_no_difference() -> None:
    assert clock.seconds_behind(a_life(timedelta(hours=1)), SIGNED + timedelta(seconds=2)) == 0.0
    assert clock.advice(0.0) == ""


def test_people_are_told_which_way_and_what_to_do() -> None:
    assert "600 s slow" in clock.advice(600)
    assert "600 s fast" in clock.advice(-600)
    assert "NTP" in clock.advice(-600)
