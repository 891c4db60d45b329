"""glibc's malloc, told to keep what is freed where others find it, and to give it back (an edge: the process's own).

By default each of some twenty threads takes from an arena of its own, up to eight for a core. What a connection is made
of comes from many threads and goes back piecemeal: each arena keeps holes that no other thread may use, and with
proxies coming and going the process grows by what it has freed. Two arenas share the holes; what is left of them, whole
pages, goes back to the system when it is asked for.
Source: mallopt(3), M_ARENA_MAX; malloc_trim(3)
"""

from __future__ import annotations

import contextlib
from typing import Final

ARENAS: Final = 2
_M_ARENA_MAX: Final = -8


def share_arenas() -> None:
    """Before most threads are started; another C library than glibc goes its own way."""
    import ctypes  # a process that serves nobody needs none

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, ARENAS)


def give_back() -> None:
    """In a thread beside the loop: some ten milliseconds, in which others may have to wait for memory."""
    import ctypes

    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
