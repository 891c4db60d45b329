"""Where an authority's private keys and its journal are: a port, in memory and in files (0700, 0600).

A key is made in the store and asked for by name; one in a hardware module (`ca.pkcs11`) never leaves it.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Final, Protocol

from ca.errors import KeystoreError
from ca.keys import KeyType, PrivateKey, key_pem, load_key, new_key_of

_KEY: Final = ".key.pem"
_NAME: Final = re.compile(r"[a-z0-9-]{1,100}", re.ASCII)


class Keystore(Protocol):
    """Every method raises KeystoreError when the store cannot do it."""

    def load(self, name: str) -> bytes | None:
        """None when nothing was stored."""
        ...

    def store(self, name: str, data: bytes) -> None:
        """Durable when it returns, whole or not at all."""
        ...

    def create_key(self, name: str, kind: KeyType) -> PrivateKey:
        """A new key, durable when it returns; it takes the place of one of that name."""
        ...

    def key(self, name: str) -> PrivateKey | None:
        """None when there is no such key."""
        ...

    def forget_key(self, name: str) -> None:
        """Gone for good; nothing happens when there is no such key."""
        ...


class MemoryKeystore:
    """Gone with the process: a new authority at each start."""

    def __init__(self) -> None:
        self._items: dict[str, bytes] = {}
        self._keys: dict[str, PrivateKey] = {}

    def load(self, name: str) -> bytes | None:
        return self._items.get(name)

    def store(self, name: str, data: bytes) -> None:
        self._items[name] = data

    def create_key(self, name: str, kind: KeyType) -> PrivateKey:
        self._keys[name] = key = new_key_of(kind)
        return key

    def key(self, name: str) -> PrivateKey | None:
        return self._keys.get(name)

    def forget_key(self, name: str) -> None:
        self._keys.pop(name, None)


class FileKeystore:
    """Keys as PKCS#8 PEM, encrypted if there is a passphrase."""

    def __init__(self, directory: Path, passphrase: bytes = b"") -> None:
        """Raises: KeystoreError when the directory cannot be made, or others may read it."""
        self._directory = directory
        self._passphrase = passphrase
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

    def create_key(self, name: str, kind: KeyType) -> PrivateKey:
        key = new_key_of(kind)
        self.store(_file(name), key_pem(key, self._passphrase))
        return key

    def key(self, name: str) -> PrivateKey | None:
        data = self.load(_file(name))
        if data is None:
            return None
        try:
            return load_key(data, self._passphrase)
        except ValueError as error:
            path = self._directory / _file(name)
            raise KeystoreError(
                f"{path} cannot be read: {error}; is the passphrase right? else restore it"
            ) from error

    def forget_key(self, name: str) -> None:
        path = self._directory / _file(name)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise KeystoreError(f"cannot remove {path}: {error.strerror}") from error


def _file(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise KeystoreError(f"{name!r} is no key's name")
    return name + _KEY


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
