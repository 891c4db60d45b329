"""What a worker may still touch, tried from inside: a process of its own is confined, and then tries."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

TRIES = """
import json, os, signal, socket, subprocess, sys, urllib.parse
from xds.workers.confine import confine
own, other, secret, server = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
version = confine(own)

def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return ""

def connect(port):
    with socket.socket() as one:
        one.connect(("127.0.0.1", port))

def listen(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(("127.0.0.1", port))

def later():
    import xds.schema, encodings.cp1006

print(json.dumps({
    "version": version,
    "a key": tried(lambda: open(secret).read()),
    "a new file": tried(lambda: open(secret + ".new", "w")),
    "the server's memory": tried(lambda: open(f"/proc/{server}/mem", "rb")),
    "the server's environment": tried(lambda: open(f"/proc/{server}/environ", "rb").read()),
    "a program": tried(lambda: subprocess.run(["/bin/true"])),
    "a signal": tried(lambda: os.kill(server, 0)),
    "the database": tried(lambda: connect(other)),
    "another port": tried(lambda: listen(other + 1)),
    "its own port": tried(lambda: connect(own)),
    "its own port, to listen": tried(lambda: listen(own)),
    "code that is loaded later": tried(later),
}))
"""


def landlock_version() -> int:
    kernel: Any = ctypes.CDLL(None, use_errno=True)
    return int(kernel.syscall(444, None, ctypes.c_size_t(0), 1))


def test_no_file_no_process_no_program_and_no_connection_but_its_own_port(tmp_path: Path) -> None:
    secret = tmp_path / "key.pem"
    secret.write_text("secret")
    with socket.socket() as own, socket.socket() as other:
        for one in (own, other):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(("127.0.0.1", 0))
            one.listen()
        ports = [str(one.getsockname()[1]) for one in (own, other)]
        command = [sys.executable, "-P", "-c", TRIES, *ports, str(secret), str(os.getpid())]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    version = found.pop("version")
    assert version == max(0, landlock_version())
    denied = "PermissionError"
    files = denied if version >= 1 else ""
    network = denied if version >= 4 else ""
    assert found == {
        "a key": files, "a new file": files, "the server's memory": files, "the server's environment": files,
        "a program": files, "a signal": denied if version >= 6 else "", "the database": network,
        "another port": network, "its own port": "", "its own port, to listen": "", "code that is loaded later": "",
    }  # fmt: skip
