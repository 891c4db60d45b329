"""The demo's own expectations, as a user runs them; and that an emptied policy is noticed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _run(
    directory: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli", "demo", "--once", "-o", "json", *arguments],
        cwd=directory, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
    )  # fmt: skip


def test_every_expectation_holds_and_nothing_stays_behind(tmp_path: Path) -> None:
    kept = tmp_path / ".pylis" / "ca" / "example.org" / "root.pem"
    kept.parent.mkdir(parents=True)
    kept.write_text("of an earlier pylis svid mint")
    done = _run(tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["failed"] == 0
    assert answer["held"] == len(answer["expectations"]) >= 40
    assert set(answer["expectations"][0]) == {
        "id",
        "from",
        "to",
        "request",
        "expect",
        "actual",
        "status",
        "rule",
        "ok",
    }
    assert [p for p in tmp_path.rglob("*") if not p.is_dir()] == [kept]
    assert not _processes_naming(str(tmp_path))


def test_an_emptied_policy_is_named(tmp_path: Path) -> None:
    """One file stands for all: that each is noticed is judged offline, in tests/golden/test_demo_policies.py."""
    copy = tmp_path / "demo"
    subprocess.run(["cp", "-r", str(ROOT / "demo"), str(copy)], check=True)
    (copy / "policies" / "no-admin.yaml").write_text("")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = _run(tmp_path, env={"PYTHONPATH": path})
    assert done.returncode == 1, done.stderr
    assert not (tmp_path / ".pylis").exists()
    failed = [e["id"] for e in json.loads(done.stdout)["expectations"] if not e["ok"]]
    assert failed
    assert all(f"no longer holds: {name}" in done.stderr for name in failed)


def _processes_naming(text: str) -> list[str]:
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in command:
                found.append(command)
    return found
