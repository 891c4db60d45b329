"""`pylis server` in a process of its own, on free ports, with an empty store; gone at the end."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from controlplane.cli.client import Client, connect


@asynccontextmanager
async def server(directory: Path | None = None, *arguments: str) -> AsyncIterator[tuple[Client, int]]:
    """A client of its API, and its process ID."""
    with tempfile.TemporaryDirectory(prefix="pylis-bench-") as temporary:
        data = directory or Path(temporary)
        with (data / "log").open("ab") as log:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "controlplane.cli", "server", "--data-dir", str(data),
                *(arguments or ("--api", "127.0.0.1:0", "--xds", "127.0.0.1:0")),
                stdout=asyncio.subprocess.PIPE, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        try:
            assert child.stdout is not None
            if not (await child.stdout.readline()).startswith(b"ready"):
                raise RuntimeError((data / "log").read_text(errors="replace")[-2000:])
            yield connect(data / "kubeconfig"), child.pid
        finally:
            if child.returncode is None:
                child.terminate()
            await asyncio.wait_for(child.wait(), 30)
