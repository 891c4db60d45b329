"""Which mesh runs in a state directory, by its `mesh.json`; refused beside, and ended for whoever asks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Final

from controlplane.cli.output import Failure

MESH_FILE: Final = "mesh.json"
STOP_SECONDS: Final = 20.0
STEP_SECONDS: Final = 0.05


def stop_other(state_dir: Path) -> bool:
    """Ends the mesh whose `mesh.json` is in `state_dir`, even when its `pylis up` is gone; False when none runs."""
    try:
        known = json.loads((state_dir / MESH_FILE).read_text())
    except (OSError, ValueError):
        return False
    if _is_pylis(known["pid"]):
        _end(known["pid"])
    for pid in reversed(list(known["children"].values())):
        if _is_pylis(pid):
            _end(pid)
    with contextlib.suppress(OSError, ValueError):
        for pid, started in json.loads((state_dir / "agent" / "processes.json").read_text()).values():
            if _start_time(pid) == started:
                _end(pid)
    (state_dir / MESH_FILE).unlink(missing_ok=True)
    return True


def refuse_second(state_dir: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        known = json.loads((state_dir / MESH_FILE).read_text())
        if any(_is_pylis(pid) for pid in (known["pid"], *known["children"].values())):
            hint = f"pylis down --state-dir {state_dir} stops it; another can run with --state-dir DIR"
            raise Failure(f"a mesh is running already in {state_dir} (process {known['pid']})", hint=hint)


def _is_pylis(pid: int) -> bool:
    """Another process than this one whose command line is ours: a number is given again after its process ended."""
    if pid == os.getpid():
        return False
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"pylis" in words or b"controlplane.cli" in words
    return False


def _start_time(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return None


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(int(STOP_SECONDS / STEP_SECONDS)):
            if _start_time(pid) is None or _is_zombie(pid):
                return
            time.sleep(STEP_SECONDS)
        os.kill(pid, signal.SIGKILL)


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
