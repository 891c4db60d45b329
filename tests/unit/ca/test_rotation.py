from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from ca.rotation import TRANSITIONS, WANTED, Event, Lifetime, Status, must_replace, renew_at

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = Lifetime(START, START + timedelta(hours=24))


@pytest.mark.parametrize(
    ("hours", "due"), [(-1, True), (0, False), (11.9, False), (12, True), (23, True), (30, True)]
)
def test_an_authority_is_replaced_at_half_of_its_life_or_when_the_clock_jumped(
    hours: float, due: bool
) -> None:
    assert must_replace(DAY, START + timedelta(hours=hours)) is due


@pytest.mark.parametrize(("status", "event"), list(product(Status, Event)))
def test_the_table_is_whole(status: Status, event: Event) -> None:
    """Forward only, and nothing comes back from revoked."""
    order = list(Status)
    following = TRANSITIONS.get((status, event))
    assert following is None or order.index(following) > order.index(status)
    if status is Status.REVOKED:
        assert following is None


def test_what_a_command_wants_is_what_the_table_allows() -> None:
    for event, status in WANTED.items():
        assert [s for s in Status if (s, event) in TRANSITIONS] == [status]


@pytest.mark.parametrize(
    ("life", "prepare", "activate"),
    [
        (timedelta(hours=24), timedelta(hours=12), timedelta(hours=4)),
        (timedelta(days=3650), timedelta(30), timedelta(7)),
    ],
)
def test_a_successor_is_made_and_signs_well_ahead(
    life: timedelta, prepare: timedelta, activate: timedelta
) -> None:
    lifetime = Lifetime(START, START + life)
    assert lifetime.not_after - lifetime.prepare_at == prepare
    assert lifetime.not_after - lifetime.activate_at == activate
    assert lifetime.prepare_at < lifetime.activate_at < lifetime.insist_at < lifetime.not_after


def test_renewal_is_spread_around_half_of_a_leafs_life() -> None:
    hour = Lifetime(START, START + timedelta(minutes=60))
    moments = [renew_at(hour, jitter) - START for jitter in (0.0, 0.5, 1.0)]
    assert [round(m.total_seconds() / 60) for m in moments] == [27, 30, 33]
