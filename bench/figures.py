"""One JSON line a goal (CONTRACT: `make bench`)."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence


def line(
    id_: str,
    values: Sequence[float],
    unit: str,
    target: float,
    baseline: str,
    *,
    at_least: bool = False,
    **more: object,
) -> None:
    """`value` is the median; a goal on another figure of the same values gets a line of its own.

    `at_least`: more is better. `A2-sqlite` is part `sqlite` of goal A2.
    """
    goal, dash, part = id_.partition("-")
    if dash:
        more = {"part": part, **more}
    ordered = sorted(values)
    p50, p99 = statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    body = {
        "id": goal, "value": round(p50, 3), "unit": unit, "target": target, "baseline": baseline,
        "ok": p50 >= target if at_least else p50 <= target,
        "n": len(ordered), "p50": round(p50, 3), "p99": round(p99, 3), **more,
    }  # fmt: skip
    print(json.dumps(body), flush=True)
