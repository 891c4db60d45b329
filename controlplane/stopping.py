"""A server that is told to stop does (an edge: the process's own end).

Stopping in order takes a few seconds. After `LATE_SECONDS` the log says what is still waited for; after `MOST_SECONDS`
every thread's stack is written to stderr and the process ends with status 1. Nothing is lost by that: what was
acknowledged is in the store already.
"""

from __future__ import annotations

import asyncio
import faulthandler
from typing import Final

import structlog

from controlplane.debugging import where_tasks_stand

LATE_SECONDS: Final = 8.0
MOST_SECONDS: Final = 20.0

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("server")


class Stopping:
    """`begin` as often as somebody asks. The bound holds to the process's very end: threads may keep it, too."""

    def __init__(self, late: float = LATE_SECONDS, most: float = MOST_SECONDS) -> None:
        self._late = late
        self._most = most
        self._begun = False

    def begin(self, task: asyncio.Task[None]) -> None:
        """Cancels `task`, whose end is the server's."""
        if not self._begun:
            self._begun = True
            asyncio.get_running_loop().call_later(self._late, _say)
            faulthandler.dump_traceback_later(self._most, exit=True)
        task.cancel()


def _say() -> None:
    log.warning("server.stop_late", waits_for=where_tasks_stand())
