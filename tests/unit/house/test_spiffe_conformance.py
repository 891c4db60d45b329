"""Every requirement of the SPIFFE documents is carried by a test, or argued; the document says which."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

REPORT: dict[str, Any] = runpy.run_path(
    str(Path(__file__).parents[2] / "spiffe" / "report.py"), run_name="report"
)
IDS = [item["id"] for item in REPORT["requirements"]()]


def test_there_are_235_requirements() -> None:
    assert len(IDS) == len(set(IDS)) == 235


def test_each_is_carried_by_a_test_or_argued_and_none_is_both() -> None:
    carried, argued = REPORT["carried"](), REPORT["not_applicable"]()
    assert [i for i in IDS if i not in carried and i not in argued] == []
    assert [i for i in IDS if i in carried and i in argued] == []
    assert set(carried) | set(argued) <= set(IDS)
    assert all(argued.values())


def test_the_document_is_up_to_date() -> None:
    assert REPORT["DOCUMENT"].read_text() == REPORT["document"](), "make conformance writes it"
