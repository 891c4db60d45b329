"""The aiohttp application: routes, who may ask, size and time limits, and one answer form for every error."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, cast

import structlog
from aiohttp import web

from controlplane.access import Attributes, Caller
from controlplane.api import discovery, metrics, openapi, reference_page
from controlplane.api.authorization import Authorization
from controlplane.api.bodies import BODY_SECONDS, MAX_BODY, read_json
from controlplane.api.callers import CALLER, Authentication, about, caller_of
from controlplane.api.debug_pages import DebugPages, Page
from controlplane.api.errors import ApiError, respond, words
from controlplane.api.limits import Connections, Gate, Guarded, Limits
from controlplane.api.metrics import Metrics
from controlplane.api.resources import Resources, WhatIf
from controlplane.api.reviews import Reviews
from controlplane.api.watching import Watches
from controlplane.api.writes import Writes
from controlplane.audit import Decision, Entry
from controlplane.journey import CURRENT, Journeys, Request
from controlplane.store.port import Store, StoreError, UnavailableError

Operation = Callable[[Any, Caller | None], Awaitable[Any]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# without a caller: health, and what somebody needs before they can have an identity
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/livez"})
OPEN_OPERATIONS: Final = frozenset({"attest", "attest/challenge"})
_READS: Final = ("GET", "HEAD")
REQUEST_ID: Final = web.RequestKey("request id", str)

log = structlog.get_logger()


async def _nothing_said(*_: object) -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    """`operations`: (method, path below /pylis/v1/) → function of (body, caller); `documents`: path → JSON that
    anyone may read (the trust bundle, keys); `ready`: raises when the server cannot do its work now.
    """

    store: Store
    authentication: Authentication
    authorization: Authorization
    writes: Writes
    operations: Mapping[tuple[str, str], Operation]
    documents: Mapping[str, Callable[[], dict[str, Any]]]
    version: str
    ready: Callable[[], Awaitable[None]]
    what_if: WhatIf = _nothing_said
    metrics: Metrics = field(default_factory=Metrics)
    limits: Limits = field(default_factory=Limits)
    debug: Mapping[str, tuple[str, Page]] = field(default_factory=dict[str, tuple[str, Page]])
    journeys: Journeys | None = None


class Api:
    """The application and what its connections need; `listen` serves it."""

    def __init__(self, deps: ApiDependencies) -> None:
        self._deps = deps
        self._gate = Gate(deps.limits)
        self._connections = Connections(deps.limits)
        self._watches = Watches(deps.store)
        self.app = web.Application(middlewares=[self._door], client_max_size=MAX_BODY)
        self.app[BODY_SECONDS] = deps.limits.body_seconds
        self._routes()
        deps.metrics.gauge("pylis_api_watches", "Open watches.", lambda: self._watches.open)
        deps.metrics.gauge("pylis_api_connections", "Open connections.", lambda: len(self._connections))
        deps.metrics.gauge("pylis_store_revision", "Revision of the store.", lambda: deps.store.revision)
        deps.metrics.gauge("process_resident_memory_bytes", "Resident memory.", _resident)
        deps.metrics.gauge("process_cpu_seconds_total", "CPU time used.", time.process_time, "counter")

    def _routes(self) -> None:
        deps, router = self._deps, self.app.router
        for path in ("/healthz", "/livez"):
            router.add_get(path, _ok)
        router.add_get("/readyz", self._ready)
        for path in ("/version", "/version/"):
            router.add_get(path, _static(_version(deps.version)))
        for path, make in deps.documents.items():
            router.add_get(path, _json(make))
        router.add_get("/metrics", self._metrics)
        DebugPages(deps.store, deps.authorization, deps.debug).add_to(router)
        router.add_get("/docs", _page)
        router.add_get("/openapi.json", _worked_out(openapi.everything))
        for root, core in (("/api", True), ("/apis", False)):
            for path in (root, f"{root}/"):
                router.add_get(path, _discovery(core=core))
        router.add_get("/openapi/v2", _openapi_v2)
        router.add_get("/openapi/v3", _worked_out(openapi.index))
        reviews, resources = (
            Reviews(deps.authorization),
            Resources(deps.store, deps.authorization, deps.writes, self._watches, deps.what_if),
        )
        for group, version in discovery.versions():
            prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
            for path in (prefix, f"{prefix}/"):
                router.add_get(path, _static(discovery.resource_list(group, version)))
            router.add_get(f"/openapi/v3{prefix}", _worked_out(partial(openapi.document, group, version)))
            if group in discovery.REVIEW_GROUPS:
                router.add_post(f"{prefix}/{{review:[a-z]+}}", reviews.handle)
            else:
                router.add_route("*", prefix + "/{rest:.+}", resources.handle)
            for path in (f"/apis/{group}", f"/apis/{group}/") if group else ():
                router.add_get(path, _static(discovery.group(group, version)))
        for (method, path), operation in deps.operations.items():
            router.add_route(method, f"/pylis/v1/{path}", self._operation(path, operation))

    @web.middleware
    async def _door(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every request passes here: limits, who asks, errors, the audit of refusals."""
        request[REQUEST_ID] = str(uuid.uuid4())
        self._connections.busy(request.transport)
        try:
            response = await self._answer(request, handler)
        except (web.HTTPException, ApiError) as error:
            response = respond(words(error))
        except StoreError as error:
            log.warning("api.store", error=str(error), path=request.path)
            response = respond(words(error))
        except ConnectionResetError:
            raise
        except Exception:
            log.exception("api.failed", method=request.method, path=request.path)
            response = respond(
                ApiError(500, "InternalError", "an error of Pylis itself; see the server's log")
            )
        finally:
            self._connections.idle(request.transport)
        if not response.prepared:
            response.headers["Audit-Id"] = request[REQUEST_ID]
            response.headers["X-Content-Type-Options"] = "nosniff"
            response.headers.setdefault("Cache-Control", "no-store")
        self._deps.metrics.answered(request.method, response.status)
        return response

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        source = request.remote or ""
        # watches have a limit of their own
        counted = request.method not in _READS or "watch" not in request.query
        if self._is_for_everybody(request.path):  # nobody is looked up: health is told without a store, too
            with self._gate.admitted(source, counted=counted):
                return await handler(request)
        caller = await self._deps.authentication.caller(request)
        if caller is None:
            if not _is_open_operation(request.path):
                await self._stranger(request, source)
            with self._gate.admitted(source, counted=counted):
                return await handler(request)
        request[CALLER] = caller = replace(caller, request_id=request[REQUEST_ID])
        with self._gate.admitted(caller.name, counted=counted):
            try:
                if request.method not in _READS:
                    await self._gate.turn(caller.name)
                return await self._followed(request, handler)
            except ApiError as error:
                await self._refused(request, caller, error)
                raise

    async def _followed(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Where traces are wanted, a change is followed from here on; reads are not."""
        journeys = self._deps.journeys
        if journeys is None or request.method in _READS:
            return await handler(request)
        parent = (request.headers.get(name, "")[:512] for name in ("traceparent", "tracestate"))
        edit = journeys.begin(Request(request.method, request.path[:500], request[REQUEST_ID], *parent))
        if edit is None:
            return await handler(request)
        token, status = CURRENT.set(edit), 500
        try:
            response = await handler(request)
            status = response.status
        except (ApiError, web.HTTPException, StoreError) as error:
            status = words(error).code
            raise
        else:
            return response
        finally:
            CURRENT.reset(token)
            journeys.answered(edit, status)

    async def _stranger(self, request: web.Request, source: str) -> None:
        """Raises: ApiError 401, or 429 for who guesses. Noted in the audit log only as often as the gate lets through."""
        self._gate.refused(source)
        entry = Entry(
            request.method.lower(), "", Decision.REFUSE, source=source, request_id=request[REQUEST_ID],
            reason="Unauthorized", detail={"path": request.path[:500], "status": 401},
        )  # fmt: skip
        await self._deps.store.record(entry)
        raise ApiError(401, "Unauthorized", "Unauthorized: send a bearer token (pylis kubeconfig holds one)")

    async def _refused(self, request: web.Request, caller: Caller, error: ApiError) -> None:
        """A refused change is in the audit log before the caller hears of it, and so is any forbidden request."""
        if error.code != 403 and (request.method in _READS or error.code in (429, 503)):
            return
        what = about(request)
        entry = Entry(
            what.verb if what else request.method.lower(), caller.name, Decision.REFUSE,
            what.key.resource if what else "", what.key.namespace if what else "", what.key.name if what else "",
            caller.source, caller.request_id, str(error)[:2000], {"path": request.path[:500], "status": error.code},
        )  # fmt: skip
        with contextlib.suppress(UnavailableError):
            await self._deps.store.record(entry)

    def _is_for_everybody(self, path: str) -> bool:
        return path in OPEN_PATHS or path in self._deps.documents

    def _operation(self, path: str, operation: Operation) -> Handler:
        resource = path.partition("/")[0]

        async def handle(request: web.Request) -> web.Response:
            if resource not in OPEN_OPERATIONS:
                verb = {"GET": "get", "POST": "create", "DELETE": "delete"}.get(request.method, "update")
                wanted = Attributes(verb, "pylis.io", resource)
                if "namespace" in request.query:
                    wanted = replace(wanted, namespace=request.query["namespace"])
                await self._deps.authorization.require(caller_of(request), wanted)
            given: Any = await read_json(request) if request.can_read_body else {**request.query}
            body = (
                {**cast("dict[str, Any]", given), **request.match_info} if isinstance(given, dict) else given
            )
            # of one who joins, the audit log tells where from
            nobody = Caller("", source=request.remote or "", request_id=request[REQUEST_ID])
            return web.json_response(await operation(body, request.get(CALLER, nobody)))

        return handle

    async def _ready(self, _: web.Request) -> web.Response:
        """Knows the store and the CA."""
        try:
            async with asyncio.timeout(5):
                await self._deps.ready()
        except (StoreError, TimeoutError) as error:
            raise ApiError(
                503, "ServiceUnavailable", f"not ready: {error or 'the store does not answer'}"
            ) from error
        return web.Response(text="ok")

    async def _metrics(self, request: web.Request) -> web.Response:
        await self._deps.authorization.require(caller_of(request), Attributes("get", url="/metrics"))
        body = self._deps.metrics.text().encode()
        return web.Response(body=body, headers={"Content-Type": metrics.CONTENT_TYPE})

    @contextlib.asynccontextmanager
    async def listen(self, host: str, port: int, context: ssl.SSLContext) -> AsyncGenerator[int]:
        """Serves within the block; gives the bound port. Raises: OSError for a taken one."""
        runner = web.AppRunner(self.app, access_log=None, keepalive_timeout=75, shutdown_timeout=2)
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("the runner has no server after its setup")
        listener = reaper = None
        try:
            listener = await asyncio.get_running_loop().create_server(
                lambda: Guarded(server(), self._connections), host, port, ssl=context, ssl_handshake_timeout=10, backlog=1024,
            )  # fmt: skip
            reaper = asyncio.create_task(self._connections.run())
            yield listener.sockets[0].getsockname()[1]
        finally:
            self._watches.stop()
            if reaper is not None:
                reaper.cancel()
            if listener is not None:
                listener.close()
            await runner.cleanup()


def _is_open_operation(path: str) -> bool:
    return path.startswith("/pylis/v1/") and path.removeprefix("/pylis/v1/") in OPEN_OPERATIONS


def _discovery(*, core: bool) -> Handler:
    aggregated = json.dumps(discovery.aggregated(core=core)).encode()
    plain = discovery.api_versions() if core else discovery.group_list()

    async def handle(request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        if "as=APIGroupDiscoveryList" in accept and "v=v2;" in accept:
            return web.Response(
                body=aggregated, headers={"Content-Type": discovery.AGGREGATED, "Vary": "Accept"}
            )
        return web.json_response(plain, headers={"Vary": "Accept"})

    return handle


def _static(value: dict[str, Any]) -> Handler:
    return _json(lambda: value)


def _json(make: Callable[[], Any]) -> Handler:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(make())

    return handle


def _worked_out(make: Callable[[], Any]) -> Handler:
    """The first time it takes a while: not on the loop."""

    async def handle(_: web.Request) -> web.Response:
        return web.json_response(await asyncio.to_thread(make))

    return handle


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")


async def _openapi_v2(_: web.Request) -> web.Response:
    return web.Response(body=openapi.EMPTY_V2, content_type=openapi.V2_TYPE)


async def _page(_: web.Request) -> web.Response:
    text = await asyncio.to_thread(reference_page.html)
    policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return web.Response(text=text, content_type="text/html", headers=policy)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _version(version: str) -> dict[str, str]:
    """Kubernetes-style numbers: clients choose their own behaviour by them."""
    return {
        "major": "1", "minor": "32", "gitVersion": f"v1.32.4+pylis-{version}", "platform": "linux/amd64",
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "", "goVersion": "", "compiler": "",
    }  # fmt: skip
