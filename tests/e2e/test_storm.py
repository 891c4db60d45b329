"""The short form of bench/storm.py: whoever has nothing to do with a storm of edits, a herd or reconnects hears of its own
edits, and in the end everybody is in sync."""

from __future__ import annotations

from pathlib import Path

from bench.storm import storm


async def test_nobody_is_lost_in_a_storm_and_memory_stays_bounded(tmp_path: Path) -> None:
    found = await storm(tmp_path, seconds=1, rate=200, sidecars=24, replicas=2)
    assert (found.lost, found.behind) == (0, 0)
    assert found.edited == 200
    assert found.calm and found.edits and found.herd and found.reconnects
    assert found.returned >= 3
    assert found.growth_mb < 30
