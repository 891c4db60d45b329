"""Prometheus text: counters of answers, gauges that are asked when somebody scrapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    def __init__(self) -> None:
        self._answers: Counter[tuple[str, int]] = Counter()
        self._sections: list[Callable[[], Iterable[str]]] = []
        self._gauges: dict[str, tuple[str, str, Callable[[], float]]] = {}

    def section(self, lines: Callable[[], Iterable[str]]) -> None:
        """Another part's own lines, in Prometheus text."""
        self._sections.append(lines)

    def gauge(self, name: str, help_: str, read: Callable[[], float], kind: str = "gauge") -> None:
        self._gauges[name] = (kind, help_, read)

    def answered(self, method: str, status: int) -> None:
        known = method if method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "OTHER"
        self._answers[known, status] += 1

    def text(self) -> str:
        lines = [
            "# HELP pylis_api_requests_total Answered requests.",
            "# TYPE pylis_api_requests_total counter",
        ]
        for (method, status), count in sorted(self._answers.items()):
            lines.append(f'pylis_api_requests_total{{method="{method}",code="{status}"}} {count}')
        for name, (kind, help_, read) in sorted(self._gauges.items()):
            lines += [f"# HELP {name} {help_}", f"# TYPE {name} {kind}", f"{name} {read()}"]
        for section in self._sections:
            lines += section()
        return "\n".join(lines) + "\n"
