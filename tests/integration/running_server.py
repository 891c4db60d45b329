"""A control plane in a process of its own, for tests that talk to it as clients do."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from controlplane.cli.client import Client, connect


class RunningServer:
    """`with RunningServer(directory) as server`; `stop` and `start` keep data and ports. `environment` comes on top."""

    def __init__(
        self, directory: Path, *arguments: str, data: str = "d", environment: dict[str, str] | None = None
    ) -> None:
        self._environment = {**os.environ, **(environment or {})}
        self.directory = directory
        self.data_dir = directory / data
        self.kubeconfig = self.data_dir / "kubeconfig"
        self._arguments = arguments
        self._api = self._xds = "127.0.0.1:0"
        self._sidecars = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        command = [sys.executable, "-m", "controlplane.cli", "server", "--data-dir", str(self.data_dir)]
        log = (self.directory / f"{self.data_dir.name}.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [*command, "--api", self._api, "--xds", self._xds, *self._arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(b"ready"):
            self.stop(signal.SIGKILL)
            raise AssertionError((self.directory / f"{self.data_dir.name}.log").read_text())
        words = line.decode().split()
        self._api = words[words.index("api") + 1].removeprefix("https://")
        self._xds = words[words.index("xds") + 1]
        self._sidecars = words[words.index("sidecars") + 1] if "sidecars" in words else self._xds

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        self._process.communicate(timeout=30)
        self._process = None

    @property
    def api(self) -> str:
        """`host:port`."""
        return self._api

    @property
    def xds(self) -> str:
        """`host:port`."""
        return self._xds

    @property
    def sidecars(self) -> str:
        """`host:port`: the workers', where there are any."""
        return self._sidecars

    def children(self) -> list[int]:
        """Processes that it started."""
        assert self._process is not None
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]

    @property
    def token(self) -> str:
        return str(self.config["users"][0]["user"]["token"])

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self.kubeconfig.read_text())

    def resident_mb(self) -> float:
        assert self._process is not None
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def ca_pem(self) -> str:
        return base64.b64decode(self.config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()

    def client(self) -> Client:
        return connect(self.kubeconfig)
