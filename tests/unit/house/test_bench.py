"""Every benchmark can be started: what it imports is there, and importing it measures nothing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCH = sorted(path.stem for path in (Path(__file__).parents[3] / "bench").glob("*.py"))


@pytest.mark.parametrize("name", BENCH)
def test_can_be_imported(name: str) -> None:
    importlib.import_module(f"bench.{name}")
