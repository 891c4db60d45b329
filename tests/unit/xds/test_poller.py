"""In a process of its own: the first server makes the poller."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import asyncio, os, sys
import grpc
from xds import poller

def sockets():
    links = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            links[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return {number for number, link in links.items() if link.startswith("socket:")}

async def main():
    before, count = sockets(), len(os.listdir("/proc/self/fd"))
    server = grpc.aio.server() if sys.argv[1] == "as it is" else poller.server(())
    print([os.get_blocking(number) for number in sorted(sockets() - before)])
    if sys.argv[1] != "as it is":
        before = len(os.listdir("/proc/self/fd"))
        another = poller.server(())
        assert len(os.listdir("/proc/self/fd")) == before, "nothing is left open"

asyncio.run(main())
"""


def ends(how: str) -> str:
    """Do they wait: the end that is read, and the one that is written to?"""
    command = [sys.executable, "-c", _PROGRAM, how]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def test_who_wakes_the_loop_does_not_wait_for_it() -> None:
    assert ends("ours") == "[False, False]"  # the loop sees to the end that it reads
    assert ends("as it is") == "[False, True]"  # so that the line above says something
