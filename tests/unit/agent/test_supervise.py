"""Real commands under a supervisor; Envoys and adoption by a second agent are in the integration tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import process, supervise
from agent.supervise import Supervisor
from agent.workloads import WorkloadSpec

ENV = {"PATH": os.environ["PATH"]}


class Bench:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.reports = 0
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.supervisor = Supervisor(directory, None, ENV, self._ready, self._changed, 0.0)

    async def _ready(self, _: WorkloadSpec) -> None:
        await self.may_start.wait()

    def _changed(self) -> None:
        self.reports += 1

    def spec(self, *command: str, name: str = "orders", restart: bool = True) -> WorkloadSpec:
        logs = {"app": str(self.directory / f"{name}.log")}
        return WorkloadSpec("shop", name, name, True, command, {}, "", restart, logs)

    def app(self, name: str = "orders") -> dict[str, Any]:
        found = [w["app"] for w in self.supervisor.status() if w["name"] == name]
        return (
            found[0]
            if found
            else {"pid": None, "state": "gone", "restarts": 0, "detail": "", "exitCode": None}
        )

    @property
    def remembered(self) -> dict[str, Any]:
        return json.loads((self.directory / "processes.json").read_text())


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    one = Bench(tmp_path)
    yield one
    await one.supervisor.stop()


async def test_a_command_runs_and_is_remembered(bench: Bench, until: Any) -> None:
    await bench.supervisor.apply((bench.spec("sleep", "60"),))
    await until(lambda: bench.app()["state"] == "running")
    pid = bench.app()["pid"]
    assert [pid, process.start_time(pid)] in bench.remembered.values()
    assert bench.supervisor.workload_of_session(pid) == ("shop", "orders")
    assert bench.supervisor.workload_of_session(os.getsid(0)) is None


async def test_nothing_starts_before_its_identity_is_there(bench: Bench, until: Any) -> None:
    bench.may_start.clear()
    await bench.supervisor.apply((bench.spec("sleep", "60"),))
    await until(lambda: bench.app()["detail"] == "for its identity")
    assert (bench.app()["pid"], bench.app()["state"]) == (None, "waiting")
    bench.may_start.set()
    await until(lambda: bench.app()["state"] == "running")


async def test_one_that_is_killed_is_started_again(bench: Bench, until: Any) -> None:
    await bench.supervisor.apply((bench.spec("sleep", "60"),))
    await until(lambda: bench.app()["state"] == "running")
    first = bench.app()["pid"]
    os.kill(first, signal.SIGKILL)
    await until(lambda: bench.app()["pid"] not in (None, first))
    assert bench.app()["restarts"] == 1
    assert bench.app()["detail"] == "killed by signal 9"
    assert bench.supervisor.workload_of_session(first) is None


async def test_a_crash_is_told_with_code_and_last_words_even_while_it_runs_again(
    bench: Bench, until: Any
) -> None:
    await bench.supervisor.apply((bench.spec("sh", "-c", "echo no database; exit 3"),))
    await until(lambda: bench.app()["restarts"] >= 2)
    assert bench.app()["exitCode"] == 3
    assert bench.app()["detail"].splitlines()[0] == "exited with 3"
    assert "no database" in bench.app()["detail"]


async def test_one_that_may_end_is_not_started_again(bench: Bench, until: Any) -> None:
    await bench.supervisor.apply((bench.spec("sh", "-c", "exit 4", restart=False),))
    await until(lambda: bench.app()["state"] == "ended")
    assert (bench.app()["exitCode"], bench.app()["restarts"], bench.app()["pid"]) == (4, 0, None)


async def test_a_command_that_is_not_there_is_said(bench: Bench, until: Any) -> None:
    await bench.supervisor.apply((bench.spec("no-such-command"),))
    await until(lambda: bench.app()["state"] == "failed")
    assert bench.app()["detail"] == "cannot be started: No such file or directory: no-such-command"


async def test_what_is_taken_out_of_the_file_is_ended_and_the_rest_left_alone(
    bench: Bench, until: Any
) -> None:
    stays, goes = bench.spec("sleep", "60", name="stays"), bench.spec("sleep", "60", name="goes")
    await bench.supervisor.apply((stays, goes))
    await until(lambda: {bench.app(n)["state"] for n in ("stays", "goes")} == {"running"})
    pid, gone = bench.app("stays")["pid"], bench.app("goes")["pid"]
    await bench.supervisor.apply((stays,))
    assert bench.app("stays")["pid"] == pid
    assert bench.app("goes")["state"] == "gone"
    assert process.start_time(gone) is None


async def test_one_whose_wish_changed_is_started_anew(bench: Bench, until: Any) -> None:
    spec = bench.spec("sleep", "60")
    await bench.supervisor.apply((spec,))
    await until(lambda: bench.app()["state"] == "running")
    first = bench.app()["pid"]
    await bench.supervisor.apply((replace(spec, env={"A": "b"}),))
    await until(lambda: bench.app()["pid"] not in (None, first))
    assert process.start_time(first) is None


async def test_stop_leaves_no_process_and_no_record(bench: Bench, until: Any) -> None:
    await bench.supervisor.apply((bench.spec("sleep", "60", name="a"), bench.spec("sleep", "60", name="b")))
    await until(lambda: {bench.app(n)["state"] for n in ("a", "b")} == {"running"})
    pids = [bench.app(n)["pid"] for n in ("a", "b")]
    await bench.supervisor.stop()
    assert [process.start_time(pid) for pid in pids] == [None, None]
    assert not (bench.directory / "processes.json").exists()


async def test_a_change_that_is_interrupted_still_ends_everything(bench: Bench, until: Any) -> None:
    deaf = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    await bench.supervisor.apply((bench.spec("sh", "-c", deaf),))
    await until(lambda: bench.app()["state"] == "running")
    await until(lambda: (bench.directory / "orders.log").read_text() == "deaf\n")
    pid = bench.app()["pid"]
    change = asyncio.ensure_future(bench.supervisor.apply(()))
    await asyncio.sleep(0)
    change.cancel()
    await asyncio.wait({change})
    assert process.start_time(pid) is not None
    os.kill(pid, signal.SIGKILL)  # it does not listen: the five seconds of grace are not what is tested
    await bench.supervisor.stop()
    assert process.start_time(pid) is None


async def test_what_an_earlier_agent_left_and_nobody_wants_is_ended(tmp_path: Path) -> None:
    left = process.start(["sleep", "60"], ENV, "", "", "")
    record = {"shop/old:app:0123456789abcdef": [left.pid, left.start_time]}
    (tmp_path / "processes.json").write_text(json.dumps(record))
    bench = Bench(tmp_path)
    await bench.supervisor.apply(())
    await left.ended.wait()
    await bench.supervisor.stop()


async def test_what_runs_with_an_outdated_wish_is_started_anew(tmp_path: Path, until: Any) -> None:
    left = process.start(["sleep", "60"], ENV, "", "", "")
    record = {"shop/orders:app:0123456789abcdef": [left.pid, left.start_time]}
    (tmp_path / "processes.json").write_text(json.dumps(record))
    bench = Bench(tmp_path)
    await bench.supervisor.apply((bench.spec("sleep", "61"),))
    await left.ended.wait()
    await until(lambda: bench.app()["state"] == "running")
    assert bench.app()["pid"] != left.pid
    await bench.supervisor.stop()


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a:b:c": 1}', '{"a:b:c": ["x", "y"]}', "[" * 99])
async def test_a_damaged_record_is_no_reason_not_to_start(tmp_path: Path, text: str, until: Any) -> None:
    (tmp_path / "processes.json").write_text(text)
    bench = Bench(tmp_path)
    await bench.supervisor.apply((bench.spec("sleep", "60"),))
    await until(lambda: bench.app()["state"] == "running")
    await bench.supervisor.stop()


async def test_a_full_disk_ends_no_workload(bench: Bench, until: Any) -> None:
    await bench.supervisor.apply((bench.spec("sleep", "60"),))
    await until(lambda: bench.app()["state"] == "running")
    (bench.directory / "processes.json").unlink()
    (bench.directory / "processes.json").mkdir()  # can be replaced by no file
    os.kill(bench.app()["pid"], signal.SIGKILL)
    await until(lambda: bench.app()["restarts"] == 1 and bench.app()["state"] == "running")
    (bench.directory / "processes.json").rmdir()


def test_a_token_in_the_environment_is_not_handed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLIS_AGENT_TOKEN", "pylis1.secret")
    monkeypatch.setenv("HOME", "/home/x")
    inherited = supervise.environment()
    assert "pylis1.secret" not in inherited.values()
    assert inherited["HOME"] == "/home/x"
