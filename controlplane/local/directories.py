"""The directories of a local mesh: what stands in them, and what is removed at its end."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from controlplane.cli.output import Failure


def entries(state_dir: Path) -> list[Path]:
    """The directory itself, what is in it, and the authority of each trust domain: outermost first."""
    found = [state_dir, *state_dir.glob("*"), *state_dir.glob("ca/*")]
    return [path for path in found if path.exists()]


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def socket_directory(state_dir: Path, *, make: bool = True, elsewhere: Path | None = None) -> Path:
    """Beside the state, or in a short private place: a Unix socket's path has 107 bytes.

    `elsewhere`: where that place is, None: where temporary files go. Raises: Failure when it is another's.
    """
    wanted = state_dir.absolute() / "sockets"
    if len(os.fsencode(wanted)) > 60:
        digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
        wanted = (elsewhere or Path(tempfile.gettempdir())) / f"pylis-{os.getuid()}-{digest}"
    if make:
        with contextlib.suppress(FileExistsError):
            wanted.mkdir(mode=0o700)
        status = wanted.lstat()  # a link somebody put there is not ours, wherever it leads
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise Failure(f"{wanted} is not private", hint="remove it")
    return wanted
