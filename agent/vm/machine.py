"""The machine itself: its files, systemd and nft. Everything is done below `root`; only at "/" is anything run.

Writes are whole or not at all: a file beside, then renamed. Nothing follows a link that somebody put there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from agent import envoy, rules
from agent.vm import units
from agent.vm.files import RESOURCES, SYSTEMD, File
from agent.vm.host import SLICE
from ca.attest.join_token import JoinToken
from ca.errors import TokenError
from xds import names

_SECONDS: Final = 60
_LOOK_AGAIN_SECONDS: Final = 0.2
_CONNECT_SECONDS: Final = 3.0
_UNITS: Final = (units.TIMER, units.ROLLBACK, units.INTERCEPTION, units.ENVOY, units.AGENT)
_STATE: Final = (units.STATE, units.STATE.parent / "private" / units.STATE.name)


class MachineError(Exception):
    """Something of the machine could not be changed; the text says what, and what to do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """`root` "/" is this machine; any other directory gets files only."""

    root: Path

    @property
    def is_here(self) -> bool:
        return self.root == Path("/")

    def at(self, path: PurePosixPath) -> Path:
        return self.root / path.relative_to("/")

    def write(self, files: Iterable[File]) -> None:
        """Raises: MachineError."""
        for file in files:
            place = self.at(file.path)
            if file.keep and place.exists():
                continue
            try:
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
                _replace(place, file)
            except OSError as error:
                raise MachineError(f"cannot write {place}: {error.strerror} (run it as root)") from error

    def start(self) -> None:
        """Agent and sidecar, now and at each boot; the interception at each boot. Raises: MachineError."""
        _systemctl("daemon-reload")
        _systemctl("enable", "--quiet", units.AGENT, units.ENVOY, units.INTERCEPTION)
        _systemctl("restart", units.AGENT, units.ENVOY)

    def wait_until_healthy(self, seconds: float) -> str:
        """What is wrong when the time is over; "" as soon as nothing is."""
        end = time.monotonic() + seconds
        while (wrong := self.unhealthy()) and time.monotonic() < end:
            time.sleep(_LOOK_AGAIN_SECONDS)
        return wrong

    def unhealthy(self) -> str:
        """The agent's own check: it is connected, a new connection leads to the control plane, Envoy is configured."""
        try:
            status = json.loads(self.at(units.STATE / "status.json").read_text())
            token = JoinToken.decode(self.at(units.TOKEN).read_text())
        except (OSError, ValueError, TokenError):
            return f"the agent has not joined: journalctl -u {units.AGENT}"
        if not status.get("connected"):
            return f"the agent is not connected ({status.get('error')}): journalctl -u {units.AGENT}"
        for address in dict.fromkeys((token.xds, token.sidecars or token.xds)):
            if not _reaches(address):
                return f"no new connection leads to the control plane at {address}"
        if not self._listens():
            return f"Envoy has no configuration: is {self.at(RESOURCES)} applied? journalctl -u {units.ENVOY}"
        return ""

    def _listens(self) -> bool:
        """Where the rules on trial lead to: a workload that serves nothing has no inbound listener."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            wanted = self.at(units.TRIAL).read_text()
            found = envoy.ask_admin(Path(units.ADMIN_SOCKET), "GET", "/listeners")
            return all(
                name in found
                for name, port in (
                    (names.INTERCEPTED_OUTBOUND, rules.OUTBOUND_PORT),
                    (names.INTERCEPTED_INBOUND, rules.INBOUND_PORT),
                )
                if f"redirect to :{port}" in wanted
            )
        return False

    def try_rules(self, nft: str) -> None:
        """The timer first, then the rules: they are never loaded without it. Raises: MachineError."""
        trial = self.at(units.TRIAL)
        if not trial.exists():
            raise MachineError(f"there are no rules to try in {trial}: pylis agent install")
        if self.is_sliced:
            _systemctl("enable", "--quiet", "--now", SLICE)
        _run([nft, "-c", "-f", str(trial)])
        _systemctl("restart", units.TIMER)
        try:
            _run([nft, "-f", str(trial)])
        except MachineError:
            _systemctl("stop", units.TIMER)
            raise

    @property
    def is_sliced(self) -> bool:
        return self.at(SYSTEMD / SLICE).exists()

    @property
    def is_on_trial(self) -> bool:
        return _ask(["systemctl", "is-active", units.TIMER]) == "active"

    def confirm(self) -> None:
        """The rules on trial are the confirmed ones from here on. Raises: MachineError."""
        if not self.is_on_trial:
            text = (
                "no rules are on trial: they were confirmed, or taken back when nobody confirmed them in time"
            )
            raise MachineError(f"{text}; pylis agent try loads them again")
        confirmed = self.at(units.CONFIRMED)
        try:
            text = self.at(units.TRIAL).read_text()
            _replace(confirmed, File(units.CONFIRMED, text))
        except OSError as error:
            raise MachineError(f"cannot write {confirmed}: {error.strerror}; the rollback goes on") from error
        _systemctl("stop", units.TIMER)
        _systemctl(
            "reload-or-restart", units.INTERCEPTION
        )  # also if the timer was quicker: the same rules again

    def remove(self, nft: str, files: Iterable[PurePosixPath]) -> None:
        """Rules, units, files and state; also where only some of it is there. Raises: MachineError."""
        if self.is_here:
            for name in _UNITS:
                if self.at(SYSTEMD / name).exists():
                    _ask(["systemctl", "disable", "--quiet", "--now", name])
            if self.is_sliced:
                # to stop a slice stops what runs in it, and that is the workload
                _ask(["systemctl", "disable", "--quiet", *([] if _is_used(SLICE) else ["--now"]), SLICE])
            if shutil.which(nft):
                _run([nft, "-f", "-"], rules.removal())
        for path in files:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.at(path).unlink()
        with contextlib.suppress(OSError):
            self.at(units.ETC).rmdir()  # what somebody else put there stays
        for directory in _STATE:
            with contextlib.suppress(OSError):
                place = self.at(directory)
                place.unlink() if place.is_symlink() else shutil.rmtree(place)
        if self.is_here:
            _systemctl("daemon-reload")
            _ask(["systemctl", "reset-failed", "--quiet", *_UNITS])


def uid_of(user: str) -> int | None:
    """By name or by number; None where this machine knows no such user."""
    try:
        return pwd.getpwuid(int(user)).pw_uid if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except (KeyError, OverflowError):
        return None


def hidden_from_others(path: Path) -> Path | None:
    """What of the way to a program units cannot see: a directory of one user only, or below /home and /root."""
    real = path.resolve()
    for place in (path, real):
        for part in reversed([place, *place.parents]):
            if str(part) in ("/home", "/root", "/run/user"):
                return part
            if part.exists() and not part.stat().st_mode & 0o001:
                return part
    return None


def _is_used(slice_name: str) -> bool:
    """Does anything run in it? Source: cgroups(7), cgroup.events"""
    try:
        return "populated 0" not in Path("/sys/fs/cgroup", slice_name, "cgroup.events").read_text()
    except FileNotFoundError:
        return False


def _reaches(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS),
    ):
        return True
    return False


def _replace(place: Path, file: File) -> None:
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.")
    try:
        with os.fdopen(handle, "w") as beside:
            beside.write(file.text)
            os.fchmod(beside.fileno(), file.mode)
            os.fsync(beside.fileno())
        Path(name).replace(place)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _systemctl(*words: str) -> None:
    _run(["systemctl", *words])


def _run(command: list[str], text: str = "") -> None:
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise MachineError(f"{' '.join(command)}: {done.stderr.strip() or f'exit status {done.returncode}'}")


def _ask(command: list[str]) -> str:
    """What it answers, whatever its exit status; "" where it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
