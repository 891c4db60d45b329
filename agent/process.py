"""One child process known by its pidfd: started in its own kernel session, or taken over after a crash.

A pid alone is never trusted: with its start time it names one process for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any


@dataclass(slots=True)
class Process:
    """`exit_code` is None while it runs, and for ever when it was taken over."""

    pid: int
    start_time: int
    pidfd: int
    child: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_alive(self) -> bool:
        return not self.ended.is_set()

    def send(self, number: signal.Signals) -> None:
        """Nothing for one that has ended: its pidfd is closed, the number may be another file's by now."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    async def stop(self, grace_seconds: float) -> None:
        """SIGTERM, then SIGKILL when it does not end in time."""
        self.send(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await self.ended.wait()
        self.send(signal.SIGKILL)
        await self.ended.wait()


def start(command: Sequence[str], env: Mapping[str, str], cwd: str, out: str, err: str) -> Process:
    """Raises: OSError when the command cannot be started."""
    with _log(out) as stdout, _log(err) as stderr:
        child = subprocess.Popen(
            list(command),
            env=dict(env),
            cwd=cwd or None,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    return _watch(child.pid, start_time(child.pid) or 0, child)


def adopt(pid: int, started: int) -> Process | None:
    """The process an earlier agent started; None when it is gone or the pid is another's by now."""
    try:
        process = _watch(pid, started, None)
    except ProcessLookupError:
        return None
    if start_time(pid) != started:
        asyncio.get_running_loop().remove_reader(process.pidfd)
        os.close(process.pidfd)
        return None
    return process


def start_time(pid: int) -> int | None:
    """In clock ticks since boot; None when there is no such process. Source: proc(5), field 22."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def session(pid: int) -> int | None:
    """The kernel session a process belongs to; nobody can join one. Source: proc(5), field 6."""
    fields = _stat(pid)
    return int(fields[3]) if fields else None


def _stat(pid: int) -> list[str] | None:
    """The fields from the third on: the second, the name, may hold anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()


def _watch(pid: int, started: int, child: subprocess.Popen[bytes] | None) -> Process:
    process = Process(pid, started, os.pidfd_open(pid), child)
    loop = asyncio.get_running_loop()

    def gone() -> None:
        loop.remove_reader(process.pidfd)
        os.close(process.pidfd)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # what it left behind; a child that is not waited for yet still owns its pid
            os.killpg(pid, signal.SIGKILL)
        if process.child is not None:
            process.exit_code = process.child.wait()
        process.ended.set()

    loop.add_reader(process.pidfd, gone)
    return process


def is_running(pidfd: int) -> bool:
    """A pidfd becomes readable when its process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return not poll.poll(0)


def _log(path: str) -> IO[Any]:
    if not path:
        return open(os.devnull, "ab")
    Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
