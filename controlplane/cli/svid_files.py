"""The files of a minted SVID, each replaced whole.

X.509: svid.pem, key.pem (0600), bundle.pem; JWT: svid.jwt (0600: it is a credential), bundle.json.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from controlplane.cli.output import Failure


@dataclass(frozen=True, slots=True)
class SvidFiles:
    svid: Path
    key: Path
    bundle: Path


def write_svid(directory: Path, chain_pem: str, key_pem: bytes, bundle_pem: str) -> SvidFiles:
    """Raises: Failure."""
    files = SvidFiles(directory / "svid.pem", directory / "key.pem", directory / "bundle.pem")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _replace(files.key, key_pem, 0o600)
        _replace(files.svid, chain_pem.encode("ascii"), 0o644)
        _replace(files.bundle, bundle_pem.encode("ascii"), 0o644)
    except OSError as error:
        raise Failure(
            f"cannot write to {directory}: {error.strerror}", hint="choose another --out"
        ) from error
    return files


@dataclass(frozen=True, slots=True)
class JwtFiles:
    svid: Path
    bundle: Path


def write_jwt(directory: Path, token: str, bundle_json: str) -> JwtFiles:
    """Raises: Failure."""
    files = JwtFiles(directory / "svid.jwt", directory / "bundle.json")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _replace(files.svid, f"{token}\n".encode("ascii"), 0o600)
        _replace(files.bundle, bundle_json.encode("ascii"), 0o644)
    except OSError as error:
        raise Failure(
            f"cannot write to {directory}: {error.strerror}", hint="choose another --out"
        ) from error
    return files


def _replace(path: Path, data: bytes, mode: int) -> None:
    """By a new file that nobody else could have opened or put a link in place of."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
