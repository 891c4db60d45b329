"""Whether policy files changed, for `pylis up --watch`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def changes(paths: list[Path]) -> Iterator[bool]:
    """Asked again and again: did a policy file change since the last time?"""
    seen: dict[str, tuple[int, int]] | None = None
    while True:
        now: dict[str, tuple[int, int]] = {}
        for path in paths:
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                with contextlib.suppress(OSError):
                    status = file.stat()
                    now[str(file)] = (status.st_mtime_ns, status.st_size)
        yield seen is not None and now != seen
        seen = now
