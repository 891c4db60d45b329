from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controlplane.acknowledgements import Acknowledgements

START = datetime(2026, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


def test_an_agent_is_waited_for_until_it_has_acknowledged() -> None:
    known = Acknowledgements(Clock())
    known.holds("web-2", START + HOUR)
    known.holds("web-1", START + HOUR)
    assert known.behind(2) == ("web-1", "web-2")
    known.acknowledged("web-1", 2)
    known.acknowledged("stranger", 2)
    assert known.behind(2) == ("web-2",)
    assert known.behind(3) == ("web-1", "web-2")
    known.acknowledged("web-1", 1)
    assert known.behind(2) == ("web-2",)
    known.gone("web-2")
    assert known.behind(2) == ()


def test_one_whose_certificate_has_expired_is_not() -> None:
    clock = Clock()
    known = Acknowledgements(clock)
    known.holds("web-1", START + HOUR)
    known.holds("web-1", START + HOUR / 2)
    clock.now = START + HOUR / 2
    assert known.behind(1) == ("web-1",)
    clock.now = START + HOUR
    assert known.behind(1) == ()


def test_after_a_restart_those_that_are_known_are_waited_for_until_they_connect_or_cannot() -> None:
    clock = Clock()
    known = Acknowledgements(clock, lambda: ["web-1", "web-2"])
    assert known.behind(1) == ("web-1", "web-2")
    known.holds("web-1", START + HOUR * 3)
    known.acknowledged("web-1", 1)
    assert known.behind(1) == ("web-2",)
    clock.now = START + HOUR
    assert known.behind(1) == ()
