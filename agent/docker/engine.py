"""The container engine through its SDK: what is there, what changes, and making and removing sidecars. Blocking.

Every call may fail at any time (the engine restarts, a container is gone): EngineError, and the caller looks again.
A container that goes on while its engine restarts (live-restore) has the old socket mounted, at which nobody will ever
listen again: EngineReplacedError, and only a start anew mounts the new one.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportMissingTypeStubs=false
# the SDK comes without types

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import docker
import docker.errors
import requests.exceptions

from agent.docker.container import AGENT, INJECT, SIDECAR_OF, Container, is_app, read
from agent.docker.sidecar import Wanted

_SECONDS: Final = 30
_SOCKET: Final = "/var/run/docker.sock"
_FAILURES: Final = (docker.errors.DockerException, requests.exceptions.RequestException, OSError)
INTERESTING: Final = ("start", "die", "destroy", "connect", "disconnect", "unpause")


class EngineError(Exception):
    """The engine could not be asked, or refused; the text says what and why."""


class EngineReplacedError(EngineError):
    """Its socket was removed under this process: another one stands in its place, which is not seen from here."""


class Engine:
    """`connect` makes one; use it from threads, one call a thread at a time is not needed."""

    def __init__(self, client: Any, path: Path | None = None) -> None:
        """`path`: of the engine's socket."""
        self._client = client
        self._path = path
        self._images: dict[str, dict[str, Any]] = {}

    @classmethod
    def connect(cls, environment: Mapping[str, str] = os.environ) -> Engine:
        """By DOCKER_HOST, or the usual socket. Raises: EngineError."""
        host = environment.get("DOCKER_HOST", f"unix://{_SOCKET}")
        kind, _, where = host.partition("://")
        path = Path(where) if kind == "unix" else None
        try:
            return cls(docker.from_env(timeout=_SECONDS, environment=dict(environment)), path)
        except _FAILURES as error:
            raise _failed(
                f"no engine answers at {host}: {_reason(error)}; does it run, is its socket mounted? DOCKER_HOST names another",
                path,
            ) from error

    def version(self) -> str:
        """Raises: EngineError."""
        return str(self._ask(lambda: self._client.version())["Version"])

    def apps(self, mesh: str) -> list[Container]:
        """Running containers that ask to be in the mesh. Raises: EngineError."""
        listed = self._ask(lambda: self._client.api.containers(filters={"label": f"{INJECT}=true"}))
        mine = [one["Id"] for one in listed if is_app(one["Labels"], mesh)]
        return [one for one in self._inspected(mine) if one.running]

    def sidecars(self, owner: str) -> list[Container]:
        """An agent's, in whatever state. Raises: EngineError."""
        label = f"{AGENT}={owner}"
        listed = self._ask(lambda: self._client.api.containers(all=True, filters={"label": label}))
        return self._inspected(one["Id"] for one in listed if SIDECAR_OF in one["Labels"])

    def container(self, name: str) -> Container | None:
        """By id or name. Raises: EngineError."""
        return self._inspect(name)

    def run_volume(self, path: str) -> str:
        """The volume (or host path) this process itself has mounted at `path`; the path where it is no container.

        Raises: EngineError.
        """
        with contextlib.suppress(docker.errors.NotFound):
            inspected = self._ask(lambda: self._client.api.inspect_container(socket.gethostname()))
            for mount in inspected["Mounts"]:
                if mount["Destination"] == path:
                    return str(mount.get("Name") or mount["Source"])
        return path

    def make(self, wanted: Wanted, ready: Callable[[str], None]) -> None:
        """Creates and starts a sidecar; `ready(id)` comes between. Raises: EngineError."""
        made = self._ask(lambda: self._client.containers.create(name=wanted.name, **wanted.options))
        ready(str(made.id))
        try:
            self._ask(made.start)
        except EngineError:
            self.remove(str(made.id))
            raise

    def remove(self, container: str) -> None:
        """At once, running or not; nothing when it is gone already. Raises: EngineError."""
        with contextlib.suppress(docker.errors.NotFound):
            self._ask(lambda: self._client.api.remove_container(container, force=True, v=True))

    def events(self) -> Iterator[tuple[str, str, dict[str, str]]]:
        """(what, container id, its labels), without end. Raises: EngineError when the engine goes."""
        try:
            for event in self._client.events(decode=True, filters={"event": list(INTERESTING)}):
                actor: dict[str, Any] = event.get("Actor", {})
                attributes: dict[str, str] = actor.get("Attributes", {})
                kind = str(event.get("Action", ""))
                yield kind, str(attributes.get("container") or actor.get("ID", "")), attributes
        except _FAILURES as error:
            raise _failed(f"the engine's events ended: {_short(error)}", self._path) from error
        raise EngineError("the engine's events ended")

    def close(self) -> None:
        self._client.close()

    def _inspected(self, ids: Iterable[str]) -> list[Container]:
        """One that goes meanwhile is left out."""
        return [one for one in map(self._inspect, ids) if one is not None]

    def _inspect(self, name: str) -> Container | None:
        try:
            inspected = self._ask(lambda: self._client.api.inspect_container(name))
        except docker.errors.NotFound:
            return None
        image = str(inspected["Image"])
        if image not in self._images:
            try:
                self._images[image] = self._ask(lambda: self._client.api.inspect_image(image))
            except docker.errors.NotFound:
                return read(inspected)
        return read(inspected, self._images[image])

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Raises: EngineError; docker.errors.NotFound."""
        try:
            return call()
        except docker.errors.NotFound:
            raise
        except _FAILURES as error:
            raise _failed(_short(error), self._path) from error


def _failed(text: str, path: Path | None) -> EngineError:
    with contextlib.suppress(OSError):
        if path is not None and path.stat().st_nlink == 0:
            return EngineReplacedError(f"{path} was replaced; another start mounts the new one ({text})")
    return EngineError(text)


def _reason(error: Exception) -> str:
    """The system's own word where it is one, however deep the SDK has wrapped it."""
    cause: BaseException | None = error
    while cause is not None:
        for one in (cause, *cause.args):
            if isinstance(one, OSError) and one.strerror:
                return one.strerror
        cause = cause.__context__
    return _short(error)


def _short(error: Exception) -> str:
    return str(getattr(error, "explanation", "") or error).strip().splitlines()[0][:300]
