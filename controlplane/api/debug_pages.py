"""`/debug`: pages about the server itself, for whoever may `get` that path (of the built-in roles: admin).

Each look is in the audit log: what is shown is of the whole mesh.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from controlplane.access import Attributes
from controlplane.api.authorization import Authorization
from controlplane.api.callers import caller_of
from controlplane.audit import Entry
from controlplane.store.port import Store

Page = Callable[[Mapping[str, str]], Awaitable[Any]]


class DebugPages:
    """`pages`: path → what it shows, and the page."""

    def __init__(
        self, store: Store, authorization: Authorization, pages: Mapping[str, tuple[str, Page]]
    ) -> None:
        self._store = store
        self._authorization = authorization
        self._pages = pages

    def add_to(self, router: web.UrlDispatcher) -> None:
        for path in ("/debug", "/debug/"):
            router.add_get(path, self._serving(self._index))
        for path, (_, page) in self._pages.items():
            router.add_get(path, self._serving(page))

    def _serving(self, page: Page) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            caller = caller_of(request)
            await self._authorization.require(caller, Attributes("get", url=request.path))
            entry = Entry(
                "get", caller.name, resource="debug", name=request.path[:500], source=caller.source,
                request_id=caller.request_id,
            )  # fmt: skip
            await self._store.record(entry)
            return web.json_response(await page({**request.query, **request.match_info}))

        return handle

    async def _index(self, _: Mapping[str, str]) -> Any:
        return {"pages": {path.replace(":.+", ""): shows for path, (shows, _) in self._pages.items()}}
