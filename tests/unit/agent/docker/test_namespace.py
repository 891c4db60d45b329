"""Rules in a real network namespace, and in no other: in a user namespace of the test's own, so that it needs no root."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]
INSIDE = (
    """
import fcntl, socket, struct, subprocess, sys
from agent.docker import namespace
from agent.docker.namespace import NamespaceError

ADDRESS = """
    + """\"\"\"
import fcntl, socket, struct
with socket.socket() as s:
    name = b"lo".ljust(16, b"\\\\0")
    fcntl.ioctl(s, 0x8914, struct.pack("16sH22x", name, 1))
    fcntl.ioctl(s, 0x8916, name + struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton("10.9.9.9")))
\"\"\"

def a_namespace():
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 100"], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process

def refused(call, *arguments):
    try:
        call(*arguments)
    except NamespaceError as error:
        return str(error)
    raise SystemExit(f"{call} was not refused")

app, other = a_namespace(), a_namespace()
try:
    enter = ["nsenter", f"--net=/proc/{app.pid}/ns/net", sys.executable, "-c", ADDRESS]
    subprocess.run(enter, check=True)
    assert not namespace.is_loaded(app.pid, "10.9.9.9")
    namespace.load(app.pid, "10.9.9.9")
    namespace.load(app.pid, "10.9.9.9")  # the same again
    assert namespace.is_loaded(app.pid, "10.9.9.9")
    assert "10.9.9.9: not touched" in refused(namespace.load, other.pid, "10.9.9.9")
    listed = subprocess.run(["nsenter", f"--net=/proc/{other.pid}/ns/net", "nft", "list", "tables"], capture_output=True)
    assert listed.stdout == b"", listed.stdout
    assert "not touched" in refused(namespace.load, app.pid, "fd00::1")
    import os
    assert "not touched" in refused(namespace.load, os.getpid(), "10.9.9.9")
    assert namespace.has_ipv6(app.pid) in (True, False)
    namespace.remove(app.pid, "10.9.9.9")
    namespace.remove(app.pid, "10.9.9.9")
    assert not namespace.is_loaded(app.pid, "10.9.9.9")
finally:
    for process in (app, other):
        process.kill()
        process.wait()
        process.stdout.close()
assert "cannot be opened" in refused(namespace.load, app.pid, "10.9.9.9")
assert not namespace.has_ipv6(app.pid)
print("held")
"""
)


def test_rules_go_where_the_address_is_and_nowhere_else() -> None:
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", INSIDE],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.stdout == "held\n", done.stderr
