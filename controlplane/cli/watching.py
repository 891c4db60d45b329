"""Waiting until a file changes (an edge: it looks at the disk, a few times a second)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

INTERVAL_SECONDS: Final = 0.2

Stamp = dict[str, tuple[int, int] | None]


def wait_for_change(seen: Stamp, files: Callable[[], Iterable[Path]]) -> None:
    """Returns when the files are not as they were `seen`; asks `files` anew each time.

    Take the stamp before the files are read, or a change in between is missed.
    """
    while stamp(files()) == seen:
        time.sleep(INTERVAL_SECONDS)


def stamp(files: Iterable[Path]) -> Stamp:
    """Each file with its time and size; None where it cannot be looked at."""
    found: Stamp = {}
    for file in files:
        try:
            status = file.stat()
        except OSError:
            found[str(file)] = None
        else:
            found[str(file)] = (status.st_mtime_ns, status.st_size)
    return found
