"""Findings as SARIF 2.1.0, which code review tools show beside the line. Pure.

Source: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from policies.codes import CODES
from policies.document import Json
from policies.problem import Problem

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(problems: Sequence[Problem]) -> dict[str, Json]:
    codes = sorted({problem.code for problem in problems})
    rules: list[Json] = [{"id": code, "shortDescription": {"text": CODES[code]}} for code in codes]
    results: list[Json] = [_result(problem) for problem in problems]
    run: dict[str, Json] = {"tool": {"driver": {"name": "pylis", "rules": rules}}, "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(problem: Problem) -> dict[str, Json]:
    hint = f"; {problem.hint}" if problem.hint else ""
    result: dict[str, Json] = {
        "ruleId": problem.code,
        "level": str(problem.severity),
        "message": {"text": f"{problem.path}: {problem.message}{hint}"},
    }
    if problem.origin.file:
        region: dict[str, Json] = {"startLine": max(1, problem.origin.line)}
        location: dict[str, Json] = {"artifactLocation": {"uri": problem.origin.file}, "region": region}
        result["locations"] = [{"physicalLocation": location}]
    return result
