"""Real processes, each ended by the test that started it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent import process
from agent.process import Process

ENV = {"PATH": os.environ["PATH"]}
STUBBORN = "trap '' TERM; echo deaf; while :; do sleep 1; done"


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(*command: str, log: str = "") -> Process:
        started.append(process.start(command, ENV, "", log, log))
        return started[-1]

    yield begin
    for one in started:
        await one.stop(0.0)


def runs(pid: int) -> bool:
    """A zombie that nobody waits for yet has ended, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_it_leads_a_session_of_its_own(start: Any) -> None:
    one = start("sleep", "60")
    assert process.session(one.pid) == one.pid != os.getsid(0)


async def test_it_ends_on_sigterm(start: Any) -> None:
    one = start("sleep", "60")
    await one.stop(10.0)
    assert (one.is_alive, one.exit_code, runs(one.pid)) == (False, -signal.SIGTERM, False)


async def test_one_that_does_not_listen_is_killed(start: Any, tmp_path: Path, until: Any) -> None:
    log = tmp_path / "log"
    one = start("sh", "-c", STUBBORN, log=str(log))
    await until(lambda: log.read_text() == "deaf\n")
    await one.stop(0.05)
    assert one.exit_code == -signal.SIGKILL


async def test_a_second_stop_touches_nobody(start: Any) -> None:
    one = start("sleep", "60")
    await one.stop(10.0)
    reader, writer = os.pipe()  # one of them has the number its pidfd had
    try:
        await one.stop(10.0)
        one.send(signal.SIGKILL)
    finally:
        os.close(reader)
        os.close(writer)


async def test_what_it_started_goes_with_it(start: Any, tmp_path: Path, until: Any) -> None:
    log = tmp_path / "log"
    one = start("sh", "-c", "sleep 60 & echo $!; wait", log=str(log))
    await until(lambda: log.read_text().endswith("\n"))
    child = int(log.read_text())
    one.send(signal.SIGKILL)
    await one.ended.wait()
    await until(lambda: not runs(child))


async def test_its_exit_code_is_known(start: Any) -> None:
    one = start("sh", "-c", "exit 7")
    await one.ended.wait()
    assert one.exit_code == 7


async def test_both_outputs_are_appended_to_a_private_log(start: Any, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "app.log"
    for word in ("one", "two"):
        await start("sh", "-c", f"echo {word}; echo {word}! >&2", log=str(log)).ended.wait()
    assert sorted(log.read_text().split()) == ["one", "one!", "two", "two!"]
    assert log.stat().st_mode & 0o777 == 0o600


async def test_a_command_that_is_not_there_is_an_error_that_names_it() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        process.start(["no-such-command"], ENV, "", "", "")


async def test_a_process_is_taken_over_by_pid_and_start_time(start: Any) -> None:
    one = start("sleep", "60")
    taken = process.adopt(one.pid, one.start_time)
    assert taken is not None
    assert taken.is_alive
    one.send(signal.SIGKILL)
    await taken.ended.wait()


async def test_another_process_with_the_same_pid_is_not_taken_over(start: Any) -> None:
    one = start("sleep", "60")
    before = set(os.listdir("/proc/self/fd"))
    assert process.adopt(one.pid, one.start_time - 1) is None
    assert set(os.listdir("/proc/self/fd")) == before
    assert one.is_alive


async def test_one_that_is_gone_is_not_taken_over(start: Any) -> None:
    one = start("true")
    await one.ended.wait()
    assert process.adopt(one.pid, one.start_time) is None


async def test_a_name_full_of_brackets_does_not_confuse_it(start: Any, tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 1 (b"
    odd.symlink_to(sys.executable)
    one = start(str(odd), "-c", "import time; time.sleep(60)")
    assert process.session(one.pid) == one.pid
    assert process.start_time(one.pid) == one.start_time


async def test_nothing_is_open_when_it_has_ended(start: Any) -> None:
    before = set(os.listdir("/proc/self/fd"))
    one = start("sleep", "60")
    await one.stop(10.0)
    await asyncio.sleep(0)
    assert set(os.listdir("/proc/self/fd")) == before
