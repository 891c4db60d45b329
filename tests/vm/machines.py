"""Machines made of namespaces: each a systemd of its own on a layer over this machine's files, joined by a bridge.

The bridge is in the network namespace the tests run in, and so is the control plane.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

BRIDGE, ADDRESS, NETWORK = "pylis-br", "10.77.0.1", "10.77.0.0/24"
PROJECT = Path(__file__).parents[2]
BOOT_SECONDS = 60
# a Python that was built to stand elsewhere finds its own library here
_PROGRAM = """#!/bin/sh
export LD_LIBRARY_PATH=/opt/python/lib
exec /opt/pylis/bin/python3 -c '
import sys
sys.path[:0] = ["/opt/project", "/opt/packages"]
from {module} import main
sys.argv[0] = "{name}"
main()
' "$@"
"""


def run(*command: str, text: str | None = None, timeout: float = 120) -> str:
    """Its output. Raises: AssertionError, with what it said, when it fails."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def bridge() -> None:
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    run("ip", "addr", "add", "fd77::1/64", "dev", BRIDGE, "nodad")
    run("ip", "link", "set", BRIDGE, "up")


class Machine:
    """`with Machine("a", 11) as machine`: 10.77.0.11, with Pylis at /opt/pylis/bin as pipx --global would put it."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.address = f"10.77.0.{number}"
        self.ipv6 = f"fd77::{number}"
        self.link = f"pylis-{name}"
        self._layer = Path(tempfile.mkdtemp(prefix=f"pylis-vm-{name}-"))
        self._group = _unified() / self._layer.name
        self._starter: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def __enter__(self) -> Self:
        self._group.mkdir()
        boot = [
            str(Path(__file__).with_name("boot.sh")),
            str(self._layer), sys.base_prefix, sysconfig.get_path("purelib"), str(PROJECT),
        ]  # fmt: skip
        names = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup"]
        join = f'echo $$ > "{self._group}/cgroup.procs" && exec "$@"'
        self._starter = subprocess.Popen(
            ["bash", "-c", join, "join", "unshare", *names, "--fork", "--kill-child", "bash", *boot],
            stdout=subprocess.DEVNULL,
        )
        until(lambda: self._first_process() > 0, "its first process")
        self.pid = self._first_process()
        until(
            lambda: self.ask("systemctl", "is-system-running").strip() in ("running", "degraded"), "systemd"
        )
        run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        run("ip", "link", "set", self.link, "master", BRIDGE, "up")
        self.run("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "addr", "add", f"{self.ipv6}/64", "dev", "eth0", "nodad")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("mkdir", "-p", "/opt/pylis/bin")
        for name, module in (("pylis", "controlplane.cli"), ("envoy", "envoy._main")):
            self.write(f"/opt/pylis/bin/{name}", _PROGRAM.format(module=module, name=name), "755")
        self.write("/opt/pylis/pyvenv.cfg", "home = /opt/python/bin\n")
        self.run("ln", "-s", "/opt/python/bin/python3", "/opt/pylis/bin/python3")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._starter is not None:
            self._starter.send_signal(signal.SIGKILL)  # and with it, by --kill-child, all there is
            self._starter.wait(30)
        until(lambda: not _groups_in_use(self._group), "its processes to end")
        for group in sorted(self._group.rglob("*/"), reverse=True):
            group.rmdir()
        self._group.rmdir()
        shutil.rmtree(self._layer)

    def run(self, *command: str, text: str | None = None) -> str:
        return run(*self.enter(), *command, text=text)

    def ask(self, *command: str) -> str:
        """Its output, whatever its exit status."""
        done = subprocess.run(
            [*self.enter(), *command], capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout + done.stderr

    def as_user(self, uid: int, *command: str) -> str:
        """Output, whatever its exit status, of a command of that user."""
        return self.ask("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *command)

    def write(self, path: str, text: str, mode: str = "644") -> None:
        self.run("bash", "-c", f"cat > {path} && chmod {mode} {path}", text=text)

    def enter(self) -> list[str]:
        return ["nsenter", "--target", str(self.pid), "--all"]

    def _first_process(self) -> int:
        assert self._starter is not None
        assert self._starter.poll() is None, f"{self.name} did not boot"
        pid = self._starter.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            found = int(children[0]) if children else 0
            return found if found and Path(f"/proc/{found}/comm").read_text() == "systemd\n" else 0
        except OSError:
            return 0


def until(holds: object, what: str, seconds: float = BOOT_SECONDS) -> None:
    """Waits for it, looking often."""
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def _unified() -> Path:
    hybrid = Path("/sys/fs/cgroup/unified")
    return hybrid if hybrid.is_dir() else Path("/sys/fs/cgroup")


def _groups_in_use(group: Path) -> bool:
    return any(file.read_text() for file in group.rglob("cgroup.procs"))
