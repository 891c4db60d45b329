"""The short form of bench/churn.py: edits, endpoints that come and go, a control plane that is killed; no wrong answer."""

from __future__ import annotations

from pathlib import Path

from bench.churn import churn


def test_no_request_is_answered_wrongly_while_everything_changes(tmp_path: Path) -> None:
    result = churn(tmp_path, edits=30, endpoints=10, restarts=1)
    assert result.wrong == []
    assert result.dropped == 0
    assert result.requests > 200
