"""Reads the files of a git revision without checking anything out (an edge): a bare fetch, then the blobs.

So there is no work tree: no hook, filter, submodule or symbolic link of the repository is ever run or followed. git
itself may speak HTTPS only, sees no configuration of this machine, asks nobody for passwords, and is bounded in time
and in what it may write; files are bounded in number and bytes.
"""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

FETCH_SECONDS: Final = 60.0
MAX_FILES: Final = 2_000
MAX_BYTES: Final = 8 * 1024 * 1024  # of all files together
MAX_REPOSITORY: Final = 128 * 1024 * 1024  # of any one file that git writes
SUFFIXES: Final = (".yaml", ".yml", ".json")
_FILE_MODES: Final = frozenset({"100644", "100755"})
_BLOCKS: Final = MAX_REPOSITORY // 512  # as sh's ulimit counts


class CheckoutError(Exception):
    """The revision cannot be read; the text says why, never a credential."""


@dataclass(frozen=True, slots=True)
class Repository:
    """`authorization`: the header's value, "" for none."""

    url: str
    ref: str
    path: str = "."
    ca_pem: str = ""
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Checkout:
    """`files`: path from the repository's root → content; YAML and JSON only."""

    commit: str
    files: Mapping[str, bytes]


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


async def read(repository: Repository) -> Checkout:
    """Raises: CheckoutError."""
    if shutil.which("git") is None:
        raise CheckoutError("there is no git on this server: install it")
    async with _directory() as folder:
        git = _Git(folder, repository)
        await git("init", "--bare", "--quiet", "--template=", ".")
        await git("fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head",
                  "--end-of-options", repository.url, f"+{repository.ref}:refs/heads/followed")  # fmt: skip
        commit = (await git("rev-parse", "--verify", "refs/heads/followed^{commit}")).decode().strip()
        names = [PurePosixPath(repository.path)] if repository.path != "." else []
        listed = await git("ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--", *map(str, names))
        return Checkout(commit, await _files(git, listed))


async def _files(git: _Git, listed: bytes) -> dict[str, bytes]:
    chosen: dict[str, str] = {}
    size = 0
    for line in filter(None, listed.split(b"\0")):
        about, _, path = line.decode(errors="replace").partition("\t")
        mode, _, blob, length = about.split()
        if mode in _FILE_MODES and path.endswith(SUFFIXES):
            chosen[path] = blob
            size += int(length)
    if len(chosen) > MAX_FILES or size > MAX_BYTES:
        text = f"{len(chosen)} files of {size} bytes are more than {MAX_FILES} files or {MAX_BYTES} bytes"
        raise CheckoutError(f"{text}: name a folder with spec.path")
    found: dict[str, bytes] = {}
    rest = await git("cat-file", "--batch", text="".join(f"{blob}\n" for blob in chosen.values()).encode())
    for path in chosen:
        head, _, rest = rest.partition(b"\n")
        length = int(head.split()[2])
        found[path], rest = rest[:length], rest[length + 1 :]
    return found


class _Git:
    def __init__(self, folder: Path, repository: Repository) -> None:
        self._folder = folder
        settings = {
            "core.hooksPath": os.devnull, "credential.helper": "", "http.followRedirects": "false",
            "http.lowSpeedLimit": "1000", "http.lowSpeedTime": "20", "protocol.version": "2", "gc.auto": "0",
            "maintenance.auto": "false", "fetch.fsckObjects": "true", "core.fsmonitor": "false",
        }  # fmt: skip
        if repository.ca_pem:
            (folder / "ca.pem").write_text(repository.ca_pem)
            settings["http.sslCAInfo"] = str(folder / "ca.pem")
        if repository.authorization:
            settings["http.extraHeader"] = f"Authorization: {repository.authorization}"
        # in the environment: an argument could be read by other users of this machine
        pairs = {f"GIT_CONFIG_KEY_{n}": key for n, key in enumerate(settings)}
        pairs |= {f"GIT_CONFIG_VALUE_{n}": value for n, value in enumerate(settings.values())}
        self._environment = {
            "PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": str(len(settings)), "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "https", "GIT_ASKPASS": "true", "LC_ALL": "C", "GIT_DIR": str(folder / "repository"),
            **pairs,
        }  # fmt: skip
        self._secret = repository.authorization

    async def __call__(self, *arguments: str, text: bytes = b"") -> bytes:
        """What it prints. Raises: CheckoutError."""
        place = self._folder / "repository"
        place.mkdir(exist_ok=True)
        process = await asyncio.create_subprocess_exec(
            "sh", "-c", f'ulimit -f {_BLOCKS}; exec git "$@"', "git", *arguments, cwd=place, env=self._environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                out, said = await process.communicate(text)
        except TimeoutError:
            raise CheckoutError(f"git {arguments[0]} took longer than {FETCH_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            words = (
                " ".join(said.decode(errors="replace").split())[-300:]
                or f"it ended with {process.returncode}"
            )
            raise CheckoutError(
                f"git {arguments[0]}: {words.replace(self._secret, '…') if self._secret else words}"
            )
        return out


@asynccontextmanager
async def _directory() -> AsyncGenerator[Path]:
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="pylis-git-"))
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
