"""glibc's malloc, told to keep what is freed where others find it (an edge: it is the process's own setting).

By default each of some twenty threads takes from an arena of its own, up to eight for a core. What a connection is made
of comes from many threads and goes back piecemeal: each arena keeps holes that no other thread may use, and with
proxies coming and going the process grows by what it has freed. Two arenas share the holes.
Source: mallopt(3), M_ARENA_MAX
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
