"""The tokens `pylis login` keeps, mode 0600, and how one that is still good is got from them.

Also what kubectl asks for: an ExecCredential. Refreshing is done by one process at a time.
Source: Kubernetes, client.authentication.k8s.io/v1
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from a file is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from controlplane.cli.oidc_flow import Provider, Tokens, refreshed
from controlplane.cli.output import Exit, Failure

CREDENTIAL: Final = ("login", "--credential")  # what a kubeconfig runs; the tokens' file follows
EARLY_SECONDS: Final = 30.0
_API: Final = "client.authentication.k8s.io/v1"


def directory() -> Path:
    """Made when it is missing, for its owner only."""
    root = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(root) / "pylis"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def keep(path: Path, provider: Provider, tokens: Tokens) -> None:
    from ca.keystore import write_private

    value = {
        "issuer": provider.issuer, "clientId": provider.client_id, "scopes": list(provider.scopes),
        "ca": provider.ca_pem, "idToken": tokens.identity, "refreshToken": tokens.refresh, "expires": tokens.expires,
    }  # fmt: skip
    write_private(path, json.dumps(value).encode() + b"\n")


def current(path: Path) -> Tokens:
    """A token that is good for a while yet; refreshed when that is needed. Raises: Failure."""
    tokens, _ = _read(path)
    if not _is_late(tokens):
        return tokens
    with _alone(path):
        tokens, value = _read(path)
        if not _is_late(tokens):
            return tokens  # another process was faster
        if not tokens.refresh:
            raise _again("the login has expired")
        try:
            provider = Provider.discover(
                value["issuer"], value["clientId"], tuple(value["scopes"]), value["ca"]
            )
            tokens = refreshed(provider, tokens)
        except Failure as failure:
            raise _again(f"the login has expired and cannot be renewed: {failure.message}") from failure
        keep(path, provider, tokens)
        return tokens


def exec_credential(tokens: Tokens) -> dict[str, Any]:
    expires = datetime.fromtimestamp(tokens.expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {"token": tokens.identity, "expirationTimestamp": expires}
    return {"apiVersion": _API, "kind": "ExecCredential", "status": status}


def exec_user(command: str, path: Path) -> dict[str, Any]:
    """A kubeconfig's user who comes with these tokens."""
    return {
        "exec": {
            "apiVersion": _API, "command": command, "args": [*CREDENTIAL, str(path)], "interactiveMode": "Never",
            "provideClusterInfo": False, "installHint": "pylis is not on this machine: pip install pylis",
        }
    }  # fmt: skip


def tokens_file(user: Any) -> Path | None:
    """Of a kubeconfig's user that `exec_user` made; nothing else is ever run for a kubeconfig."""
    run = user.get("exec") if isinstance(user, dict) else None
    arguments = run.get("args") if isinstance(run, dict) else None
    if not isinstance(arguments, list) or tuple(arguments[:2]) != CREDENTIAL or len(arguments) != 3:
        return None
    return Path(str(arguments[2]))


def _is_late(tokens: Tokens) -> bool:
    return time.time() > tokens.expires - EARLY_SECONDS


def _read(path: Path) -> tuple[Tokens, dict[str, Any]]:
    try:
        if path.stat().st_mode & 0o077:
            raise Failure(
                f"{path} can be read by others: its tokens are not used", hint=f"rm {path} && pylis login"
            )
        value: Any = json.loads(path.read_text())
        return Tokens(str(value["idToken"]), str(value["refreshToken"]), float(value["expires"])), value
    except (OSError, ValueError, KeyError, TypeError):
        raise _again(f"there is no login in {path}") from None


@contextmanager
def _alone(path: Path) -> Generator[None]:
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _again(why: str) -> Failure:
    return Failure(why, hint="pylis login", code=Exit.UNREACHABLE)
