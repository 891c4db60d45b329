"""The demo's mesh as a user runs it: `pylis up` in the background, `pylis` commands against it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo.client import Credentials

HERE = Path(__file__).parent
START_SECONDS = 90.0


class DemoError(Exception):
    """The mesh did not start; the text says why."""


def run_pylis(
    *arguments: str, input_text: str | None = None, env: dict[str, str] | None = None, cwd: Path | None = None
) -> str:
    """A pylis command on this machine. Raises: DemoError."""
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli", *arguments],
        input=input_text, capture_output=True, text=True, timeout=60, check=False,
        env={**(os.environ if env is None else env), "PYTHONPATH": str(HERE.parent)}, cwd=cwd,
    )  # fmt: skip
    if done.returncode != 0:
        raise DemoError(f"pylis {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@dataclass
class DemoMesh:
    """Enter to start, leave to stop: no process and no file stays."""

    state_dir: Path
    file: Path = HERE / "mesh.yaml"
    quiet: bool = False
    info: dict[str, Any] = field(default_factory=dict)
    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="pylis-demo-")))
    _up: subprocess.Popen[bytes] | None = None
    _minted: dict[str, Credentials] = field(default_factory=dict)

    def __enter__(self) -> DemoMesh:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "kubeconfig"

    @property
    def xds(self) -> str:
        text = (self.state_dir / "logs" / "server.log").read_text()
        return next(line.split()[4] for line in text.splitlines() if line.startswith("ready"))

    def workload(self, name: str) -> dict[str, Any]:
        return self.info["workloads"][name]

    def pylis(self, *arguments: str, input_text: str | None = None, alone: bool = False) -> str:
        """A pylis command against this mesh, or `alone`, knowing no server. Raises: DemoError."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYLIS_")}
        if not alone:
            env["PYLIS_KUBECONFIG"] = str(self.kubeconfig.absolute())
        return run_pylis(*arguments, input_text=input_text, env=env, cwd=self.scratch)

    def credentials(self, workload: str, ttl: str = "1h") -> Credentials:
        """An SVID for `namespace/account`, minted by the administrator: what a thief would have stolen."""
        key = f"{workload}@{ttl}"
        if key not in self._minted:
            namespace, _, account = workload.partition("/")
            directory = self.scratch / key.replace("/", "-")
            spiffe_id = f"spiffe://{self.info['trustDomain']}/ns/{namespace}/sa/{account}"
            self.pylis(
                "svid", "mint", "--spiffe-id", spiffe_id, "--ttl", ttl, "--out", str(directory),
                "--kubeconfig", str(self.kubeconfig.absolute()),
            )  # fmt: skip
            self._minted[key] = Credentials(directory)
        return self._minted[key]

    def foreign_credentials(self, workload: str) -> Credentials:
        """The right SPIFFE ID, signed by an authority of the same name that is not ours."""
        namespace, _, account = workload.partition("/")
        directory = self.scratch / "foreign"
        spiffe_id = f"spiffe://{self.info['trustDomain']}/ns/{namespace}/sa/{account}"
        self.pylis(
            "svid", "mint", "--spiffe-id", spiffe_id, "--out", str(directory),
            "--state-dir", str(self.scratch / "foreign-state"), alone=True,
        )  # fmt: skip
        return Credentials(directory)

    def close(self) -> None:
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            try:
                self._up.wait(40)
            except subprocess.TimeoutExpired:
                self._up.kill()
                self._up.wait()
        if self._up is not None and self._up.stderr is not None:
            self._up.stderr.close()
        import shutil

        shutil.rmtree(self.scratch, ignore_errors=True)

    def check_alive(self) -> None:
        if self._up is None or self._up.poll() is not None:
            raise DemoError("the mesh has ended")

    def _start(self) -> None:
        error = None if not self.quiet else subprocess.PIPE
        self._up = subprocess.Popen(
            [
                sys.executable, "-m", "controlplane.cli", "up", "-f", str(self.file), "--state-dir", str(self.state_dir),
                "--access-log", "all", "--no-logs",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=error, start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._up.poll() is not None:
                text = self._up.stderr.read().decode() if self._up.stderr else ""
                raise DemoError(f"the mesh did not start\n{text}")
            with contextlib.suppress(OSError, ValueError):
                self.info = json.loads((self.state_dir / "mesh.json").read_text())
                if self.info.get("ready") and self.info["pid"] == self._up.pid:
                    return
            time.sleep(0.05)
        raise DemoError("the mesh did not start in time")
