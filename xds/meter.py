"""What the xDS port did, in numbers: for `/metrics`. Without I/O; times are seconds of one monotonic clock.

Labels are types of resources only: their number is bounded, and nothing of a proxy or a policy is in them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Meter:
    """`streams` and `newcomers` are set by the server; a push is measured from `waiting` to `settled`."""

    def __init__(self) -> None:
        self.streams = 0
        self.newcomers: Callable[[], int] = lambda: 0
        self._since: dict[str, float] = {}
        self._in_bucket = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0
        self._sent: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def waiting(self, node_id: str, now: float) -> None:
        """An edit concerns a connected proxy; the oldest that it does not hold counts."""
        self._since.setdefault(node_id, now)

    def settled(self, node_id: str, now: float, *, refused: bool = False) -> None:
        """What a proxy refuses is in the count of refusals, and no push that took so long."""
        if (since := self._since.pop(node_id, None)) is not None and not refused:
            self._in_bucket[bisect_left(BUCKETS, now - since)] += 1
            self._sum += now - since

    def disconnected(self, node_id: str) -> None:
        self._since.pop(node_id, None)

    def sent(self, type_url: str, size: int, responses: int = 1) -> None:
        """`size`: bytes of all of them."""
        self._sent[type_url] += responses
        self._bytes[type_url] += size

    def nacked(self, type_url: str) -> None:
        self._refused[type_url] += 1

    def lines(self) -> Iterator[str]:
        """Prometheus text."""
        yield from _head("pylis_xds_streams", "gauge", "Open streams of proxies.")
        yield f"pylis_xds_streams {self.streams}"
        yield from _head("pylis_xds_waiting", "gauge", "Proxies that do not hold the newest yet.")
        yield f"pylis_xds_waiting {len(self._since)}"
        yield from _head("pylis_xds_newcomers", "gauge", "Streams that wait for their first configuration.")
        yield f"pylis_xds_newcomers {self.newcomers()}"
        name = "pylis_xds_push_seconds"
        yield from _head(
            name, "histogram", "From an accepted edit that concerns a proxy to its acknowledgement."
        )
        total = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self._in_bucket, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {total}"
        for suffix, counter, help_ in (
            ("responses", self._sent, "Responses sent."),
            ("bytes", self._bytes, "Bytes of responses sent."),
            ("nacks", self._refused, "Responses that proxies refused."),
        ):
            yield from _head(f"pylis_xds_{suffix}_total", "counter", help_)
            for type_, count in sorted((_short(type_url), n) for type_url, n in counter.items()):
                yield f'pylis_xds_{suffix}_total{{type="{type_}"}} {count}'


def _head(name: str, kind: str, help_: str) -> Iterator[str]:
    yield f"# HELP {name} {help_}"
    yield f"# TYPE {name} {kind}"


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]
