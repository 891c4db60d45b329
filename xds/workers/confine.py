"""What a worker's process may still touch once it runs: the code it is made of, and its own port (an edge: Linux).

No file of the data directory, no other process, no TCP connection to anywhere else, no new program. Where the kernel
is too old for a part of it, that part is missing; what holds is said in the log by its version.
Source: landlock(7), prctl(2); the kernel's include/uapi/linux/landlock.h
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import ca
import policies
import xds

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION: Final = 1  # flag of _CREATE: say which version there is
_BENEATH, _PORT = 1, 2
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_BIND, _CONNECT = 1, 2
_ALL_SCOPES: Final = 0b11  # abstract Unix sockets, signals
_NO_NEW_PRIVILEGES, _DUMPABLE = 38, 4
# how many rights over files each version knows, from 1 on
_FILE_RIGHTS: Final = (13, 14, 15, 15, 16, 16)


def confine(port: int) -> int:
    """For the calling thread and all it will start: to be called before there are others. Irrevocable.

    The version of Landlock that holds from now on; 0 where the kernel has none.
    """
    kernel: Any = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kernel.prctl(_DUMPABLE, 0, 0, 0, 0)
    if kernel.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        return 0
    version = int(kernel.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION))
    if version < 1:
        return 0
    rights = (1 << _FILE_RIGHTS[min(version, len(_FILE_RIGHTS)) - 1]) - 1
    wanted = struct.pack("=QQQ", rights, _BIND | _CONNECT, _ALL_SCOPES)
    wanted = wanted[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _checked(kernel.syscall(_CREATE, wanted, ctypes.c_size_t(len(wanted)), 0))
    try:
        for path in _code():
            _allow_reading(kernel, ruleset, path, _READ_FILE | _READ_DIR)
        _allow_reading(kernel, ruleset, Path("/dev/urandom"), _READ_FILE)
        if version >= 4:
            rule = struct.pack("=QQ", _BIND | _CONNECT, port)
            _checked(kernel.syscall(_ADD, ruleset, _PORT, rule, 0))
        _checked(kernel.syscall(_RESTRICT, ruleset, 0))
    finally:
        os.close(ruleset)
    return version


def _code() -> Iterable[Path]:
    """Python, its packages, the libraries they are linked to; of ours what a worker is made of."""
    named = ("stdlib", "platstdlib", "purelib", "platlib")
    found = {Path(sysconfig.get_path(name)) for name in named}
    found |= {Path(package.__path__[0]) for package in (ca, policies, xds)}
    found |= {Path(root) for root in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")}
    return sorted(path for path in found if path.is_dir())


def _allow_reading(kernel: Any, ruleset: int, path: Path, rights: int) -> None:
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, opened)
        _checked(kernel.syscall(_ADD, ruleset, _BENEATH, rule, 0))
    finally:
        os.close(opened)


def _checked(result: int) -> int:
    """Raises: OSError."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
