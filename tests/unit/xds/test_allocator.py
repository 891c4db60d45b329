"""In a process of its own: what an allocator was told it does not forget."""

from __future__ import annotations

import subprocess
import sys

# as many threads as want an arena each; malloc_info(3) lists the arenas there are
_PROGRAM = """
import ctypes, os, sys, threading
if sys.argv[1] == "shared":
    from xds.allocator import share_arenas
    share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
barrier = threading.Barrier(8)
def take():
    barrier.wait()
    libc.malloc(100_000)
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fdopen.restype = libc.fclose.argtypes = None
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fclose(out)
"""


def arenas(how: str) -> int:
    command = [sys.executable, "-c", _PROGRAM, how]
    found = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return found.count("<heap nr=")


def test_threads_share_arenas() -> None:
    assert arenas("shared") <= 2
    assert arenas("as it is") > 2  # so that the line above says something
