"""The installation under load, from outside (an edge): its API, and what its process uses."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from ca import keys
from controlplane.load.fleet import Identity
from controlplane.resources.kinds import by_api_version

AT_ONCE: Final = 8
_SERVER_NAME: Final = "server.pylis.internal"


class RefusedError(Exception):
    """The API said no; the text is its own."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process with those it started, all threads: CPU seconds since they started, resident bytes now."""

    cpu_seconds: float
    resident_bytes: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Source: /proc/PID/task/*/schedstat (nanoseconds on a CPU), …/children, /proc/PID/statm."""
        spent, children = 0, list[int]()
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                spent += int((task / "schedstat").read_text().split()[0])
                children += map(int, (task / "children").read_text().split())
            except OSError:
                continue  # that thread has just ended
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        found = cls(spent / 1e9, pages * os.sysconf("SC_PAGE_SIZE"))
        for child in children:
            with contextlib.suppress(OSError):  # that process has just ended
                more = cls.of(child)
                found = cls(found.cpu_seconds + more.cpu_seconds, found.resident_bytes + more.resident_bytes)
        return found


class Api:
    """The policy API with a bearer token; a context manager."""

    def __init__(self, server: str, token: str, context: ssl.SSLContext, *, at_once: int = AT_ONCE) -> None:
        self._server = server
        self._at_once = at_once
        self._context = context
        self._token = token
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._context, limit=self._at_once)
        headers = {"Authorization": f"Bearer {self._token}"}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """Raises: RefusedError; aiohttp.ClientError."""
        url = f"{self._server}{path}"
        async with self._session.request(method, url, json=body, server_hostname=_SERVER_NAME) as response:
            answer = await response.json()
            if response.status >= 400:
                raise RefusedError(f"{method} {path}: {answer.get('message', response.status)}")
            return answer

    async def create(self, resources: Iterable[dict[str, Any]]) -> None:
        """Several at once; what exists already stays as it is."""
        await _each(list(resources), self._create)

    async def replace(self, resource: dict[str, Any]) -> int:
        """The revision it has now."""
        answer = await self.request(
            "PUT", f"{_collection(resource)}/{resource['metadata']['name']}", resource
        )
        return int(answer["metadata"]["resourceVersion"])

    async def delete(self, resource: dict[str, Any]) -> None:
        await self.request("DELETE", f"{_collection(resource)}/{resource['metadata']['name']}")

    async def identities(self, nodes: Sequence[tuple[str, str]], ttl_seconds: int) -> list[Identity]:
        """An SVID for each (node id, SPIFFE ID); keys are made here."""
        found: dict[str, Identity] = {}

        async def mint(node: tuple[str, str]) -> None:
            key = keys.new_key()
            csr = base64.b64encode(keys.csr_for(key)).decode()
            body = {"spiffeId": node[1], "csr": csr, "ttlSeconds": ttl_seconds}
            answer = await self.request("POST", "/pylis/v1/svids", body)
            chain = str(answer["chain"]).encode()
            found[node[0]] = Identity(node[0], keys.key_pem(key), chain, str(answer["bundle"]))

        await _each(list(nodes), mint)
        return [found[node] for node, _ in nodes]

    async def _create(self, resource: dict[str, Any]) -> None:
        try:
            await self.request("POST", _collection(resource), resource)
        except RefusedError as error:
            if "already exists" not in str(error):
                raise


def _collection(resource: dict[str, Any]) -> str:
    kind = by_api_version(resource["apiVersion"], resource["kind"])
    if kind is None:
        raise ValueError(f"{resource['kind']} is no kind of ours")
    root = f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"
    inside = f"/namespaces/{resource['metadata']['namespace']}" if kind.namespaced else ""
    return f"{root}{inside}/{kind.plural}"


async def _each(items: Sequence[Any], do: Any) -> None:
    """`do` for each, some at a time; the first error ends all."""
    left = iter(items)

    async def worker() -> None:
        for item in left:
            await do(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())
