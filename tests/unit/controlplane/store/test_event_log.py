"""The bounded log: what it keeps, and that those who fall behind learn it."""

from __future__ import annotations

import pytest

from controlplane.store.event_log import KEPT, EventLog
from controlplane.store.port import Change, Event, GoneError, Key, Record


def an_event(revision: int) -> Event:
    return Event(Change.ADDED, Record.of(Key("t", "", f"n{revision}"), {}, revision, revision))


def revisions(log: EventLog, after: int) -> list[int]:
    return [event.record.revision for event in log.after(after)]


def test_it_starts_where_the_store_is() -> None:
    log = EventLog(7)
    assert (log.revision, log.after(7)) == (7, [])
    with pytest.raises(GoneError, match="too old"):
        log.after(6)


def test_what_was_kept_is_told_again() -> None:
    log = EventLog(9, [an_event(8), an_event(9)])
    assert (revisions(log, 7), revisions(log, 8), revisions(log, 9)) == ([8, 9], [9], [])
    with pytest.raises(GoneError):
        log.after(6)


def test_it_forgets_the_oldest() -> None:
    log = EventLog(0)
    for revision in range(1, KEPT + 3):
        log.append(an_event(revision))
    assert len(log.after(2)) == KEPT
    with pytest.raises(GoneError, match="the oldest kept is 2"):
        log.after(1)


def test_few_large_changes_are_forgotten_by_their_bytes() -> None:
    def large(revision: int, size: int) -> Event:
        return Event(Change.MODIFIED, Record(Key("t", "", "n"), "x" * size, 1, revision), before=None)

    log = EventLog(0, kept_bytes=1000)
    for revision in range(1, 31):
        log.append(large(revision, 100))
    assert revisions(log, 20) == list(range(21, 31))
    with pytest.raises(GoneError):
        log.after(19)
    log.append(large(31, 5000))
    assert revisions(log, 30) == [31], "the newest stays, whatever its size"
    log.append(large(32, 100))
    assert revisions(log, 31) == [32]
    again = EventLog(30, [large(r, 100) for r in range(1, 31)], kept_bytes=1000)
    assert revisions(again, 20) == list(range(21, 31))
