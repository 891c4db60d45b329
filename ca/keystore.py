"""Where the CA keeps its secrets: a port, in memory and in files (directory 0700, files 0600)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import Protocol

from ca.errors import KeystoreError


class Keystore(Protocol):
    def load(self, name: str) -> bytes | None:
        """None when nothing was stored. Raises: KeystoreError."""
        ...

    def store(self, name: str, data: bytes) -> None:
        """Durable when it returns, whole or not at all. Raises: KeystoreError."""
        ...


class MemoryKeystore:
    def __init__(self) -> None:
        self._items: dict[str, bytes] = {}

    def load(self, name: str) -> bytes | None:
        return self._items.get(name)

    def store(self, name: str, data: bytes) -> None:
        self._items[name] = data


class FileKeystore:
    def __init__(self, directory: Path) -> None:
        """Raises: KeystoreError when the directory cannot be made, or others may read it."""
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            mode = directory.stat().st_mode & 0o777
        except OSError as error:
            raise KeystoreError(f"cannot use {directory} for keys: {error.strerror}") from error
        if mode & 0o077:
            raise KeystoreError(f"{directory} can be read by others (mode {mode:o}): chmod 700 {directory}")

    def load(self, name: str) -> bytes | None:
        path = self._directory / name
        try:
            if path.stat().st_mode & 0o077:
                raise KeystoreError(f"{path} can be read by others: chmod 600 {path}")
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeystoreError(f"cannot read {path}: {error.strerror}") from error

    def store(self, name: str, data: bytes) -> None:
        try:
            write_private(self._directory / name, data)
        except OSError as error:
            raise KeystoreError(f"cannot write {self._directory / name}: {error.strerror}") from error


def write_private(path: Path, data: bytes) -> None:
    """Replaces `path` atomically by a 0600 file, on disk when it returns. Raises: OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
