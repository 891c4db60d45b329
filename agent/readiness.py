"""When a workload is ready: its processes run, its sidecar is configured, and its application answers a probe.

    failure of the probe      not ready after `failure_threshold` in a row, ready before
    success                   ready at once
    a process is not running  not ready at once

`Health` is the state machine; `probe` asks once. Source: Kubernetes' readinessProbe
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

_MOST_HEAD: Final = 4096


@dataclass(frozen=True, slots=True)
class Probe:
    """`address` is `host:port` or `unix:///path`; `path` "": whether it takes connections, else an HTTP GET of it.

    Times are seconds.
    """

    address: str
    path: str = ""
    period: float = 1.0
    timeout: float = 1.0
    failure_threshold: int = 3


class Health:
    """`reason` is "" while the workload is ready."""

    def __init__(self, failure_threshold: int) -> None:
        self._threshold = failure_threshold
        self._failures = 0
        self.reason = "not looked at yet"

    def answered(self, problem: str) -> None:
        """What a probe found; "" for nothing wrong."""
        if not problem:
            self._failures, self.reason = 0, ""
            return
        self._failures += 1
        if self.reason or self._failures >= self._threshold:
            self.reason = problem

    def stopped(self, why: str) -> None:
        """There is nothing to probe."""
        self._failures, self.reason = 0, why


async def probe(what: Probe) -> str:
    """What is wrong; "" for nothing."""
    try:
        async with asyncio.timeout(what.timeout):
            reader, writer = await _connect(what.address)
            try:
                return await _ask(reader, writer, what.path) if what.path else ""
            finally:
                writer.close()
    except TimeoutError:
        return f"no answer within {what.timeout:g} s"
    except OSError as error:
        return f"cannot be reached: {(error.strerror or str(error)).lower()}"[:150]


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix://"):
        return await asyncio.open_unix_connection(address.removeprefix("unix://"))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> str:
    head = f"GET {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: pylis-probe\r\nconnection: close\r\n\r\n"
    writer.write(head.encode())
    await writer.drain()
    line = await reader.read(_MOST_HEAD)
    words = line.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1][:3].isdigit():
        return "answers something that is no HTTP"
    status = int(words[1][:3])
    return "" if 200 <= status < 400 else f"answers {status}"
