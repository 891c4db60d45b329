from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.cli.output import Failure
from controlplane.local.running import MESH_FILE, refuse_second, stop_other

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def a_sleeper(*words: str) -> subprocess.Popen[bytes]:
    """Once its command line is its own: for a moment after exec there is none."""
    started = subprocess.Popen([*SLEEPER, *words])
    while not Path(f"/proc/{started.pid}/cmdline").read_bytes():
        assert started.poll() is None
    return started


def known(directory: Path, pid: int, **children: int) -> None:
    (directory / MESH_FILE).write_text(json.dumps({"pid": pid, "children": children}))


def test_where_none_runs_nothing_is_refused_and_nothing_stopped(tmp_path: Path) -> None:
    refuse_second(tmp_path)
    assert not stop_other(tmp_path)
    (tmp_path / MESH_FILE).write_text("{")
    refuse_second(tmp_path)
    assert not stop_other(tmp_path)


def test_a_mesh_that_runs_is_refused_beside_and_ended(tmp_path: Path) -> None:
    with a_sleeper("pylis") as one, a_sleeper("controlplane.cli") as two:
        known(tmp_path, one.pid, server=two.pid)
        with pytest.raises(Failure, match="running already"):
            refuse_second(tmp_path)
        assert stop_other(tmp_path)
        assert (one.wait(10), two.wait(10)) == (-15, -15)
    assert not (tmp_path / MESH_FILE).exists()


def test_a_number_that_another_program_has_now_is_left_alone(tmp_path: Path) -> None:
    with a_sleeper() as other:
        known(tmp_path, other.pid, agent=other.pid)
        refuse_second(tmp_path)
        assert stop_other(tmp_path)
        assert other.poll() is None
        other.kill()


def test_sidecars_whose_agent_is_gone_are_ended_when_they_are_still_themselves(tmp_path: Path) -> None:
    with a_sleeper() as same, a_sleeper() as other:
        started = int(Path(f"/proc/{same.pid}/stat").read_text().rpartition(")")[2].split()[19])
        known(tmp_path, 2**22 + 1)
        (tmp_path / "agent").mkdir()
        body = {"a": [same.pid, started], "b": [other.pid, started + 1_000_000]}
        (tmp_path / "agent" / "processes.json").write_text(json.dumps(body))
        assert stop_other(tmp_path)
        assert same.wait(10) == -15
        assert other.poll() is None
        other.kill()
