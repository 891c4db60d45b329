"""The aiohttp application: routes, who may ask, size and time limits, and one answer form for every error."""

from __future__ import annotations

import os
import ssl
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog
from aiohttp import web

from controlplane.api import discovery, tokens
from controlplane.api.errors import ApiError, respond
from controlplane.api.resources import Resources, read_json
from controlplane.api.tokens import CALLER, Caller
from controlplane.audit import Decision, Entry
from controlplane.store.port import Store

Operation = Callable[[Any, Caller | None], Awaitable[Any]]
OPEN_PATHS: Final = frozenset(
    {
        "/healthz",
        "/readyz",
        "/version",
        "/.well-known/spiffe/bundle",
        "/.well-known/openid-configuration",
        "/keys",
        "/pylis/v1/attest",
        "/pylis/v1/attest/challenge",
    }
)
MAX_BODY: Final = 3 * 1024 * 1024

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ApiDependencies:
    """`operations`: (method, path below /pylis/v1/) → function of (body, caller).

    `documents`: path → JSON that anybody may read: the trust bundle, what OpenID Connect asks for.
    """

    store: Store
    operations: Mapping[tuple[str, str], Operation]
    documents: Mapping[str, Callable[[], dict[str, Any]]]
    version: str


def make_app(deps: ApiDependencies) -> web.Application:
    app = web.Application(middlewares=[_errors, _authentication(deps.store)], client_max_size=MAX_BODY)
    resources = Resources(deps.store)
    app.router.add_get("/healthz", _ok)
    app.router.add_get("/readyz", _ready(deps.store))
    app.router.add_get("/version", _static(_version(deps.version)))
    app.router.add_get("/version/", _static(_version(deps.version)))
    for path, document in deps.documents.items():
        app.router.add_get(path, _document(document))
    app.router.add_get("/metrics", _metrics(deps.store))
    for root, core in (("/api", True), ("/apis", False)):
        for path in (root, f"{root}/"):
            app.router.add_get(path, _discovery(core=core))
    app.router.add_get("/openapi/v3", _static(discovery.openapi_index()))
    for group, version in discovery.versions():
        prefix = f"/apis/{group}/{version}" if group else f"/api/{version}"
        app.router.add_get(prefix, _static(discovery.resource_list(group, version)))
        app.router.add_get(f"/openapi/v3{prefix}", _static(discovery.openapi(group, version)))
        app.router.add_route("*", prefix + "/{rest:.+}", resources.handle)
        if group:
            app.router.add_get(f"/apis/{group}", _static(discovery.group(group, version)))
    for (method, path), operation in deps.operations.items():
        app.router.add_route(method, f"/pylis/v1/{path}", _operation(operation))
    return app


async def listen(
    app: web.Application, host: str, port: int, context: ssl.SSLContext
) -> tuple[web.AppRunner, int]:
    """Serves until the runner is cleaned up; the bound port. Raises: OSError for a taken one."""
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=75, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=context, reuse_port=False)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]


@web.middleware
async def _errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return respond(error)
    except web.HTTPException as error:
        reasons = {404: "NotFound", 405: "MethodNotAllowed", 413: "RequestEntityTooLarge"}
        return respond(ApiError(error.status, reasons.get(error.status, "BadRequest"), error.reason))
    except ConnectionResetError:
        raise
    except Exception:
        log.exception("api.failed", method=request.method, path=request.path)
        return respond(ApiError(500, "InternalError", "an error of Pylis itself; see the server's log"))


def _authentication(store: Store) -> Any:
    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        request_id = str(uuid.uuid4())
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        caller = await tokens.authenticate(store, token.strip()) if scheme.lower() == "bearer" else None
        if caller is not None:
            caller = replace(caller, source=request.remote or "", request_id=request_id)
            request[CALLER] = caller
        elif request.path not in OPEN_PATHS:
            raise ApiError(
                401, "Unauthorized", "Unauthorized: send a bearer token (pylis kubeconfig holds one)"
            )
        return await _audited(store, request, caller, handler)

    return check


async def _audited(
    store: Store,
    request: web.Request,
    caller: Caller | None,
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    """A refused change is in the audit log before the caller hears of it."""
    try:
        return await handler(request)
    except ApiError as error:
        if caller is not None and request.method not in ("GET", "HEAD"):
            await store.record(
                Entry(
                    request.method.lower(), caller.name, Decision.REFUSE, source=caller.source,
                    request_id=caller.request_id, reason=str(error), detail={"path": request.path, "status": error.code},
                )
            )  # fmt: skip
        raise


def _operation(operation: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        body = await read_json(request) if request.can_read_body else {**request.query}
        return web.json_response(await operation(body, request.get(CALLER)))

    return handle


def _discovery(*, core: bool) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        if (
            "as=APIGroupDiscoveryList" in request.headers.get("Accept", "")
            and "v=v2;" in request.headers["Accept"]
        ):
            headers = {"Content-Type": discovery.AGGREGATED, "Vary": "Accept"}
            import json

            return web.Response(body=json.dumps(discovery.aggregated(core=core)), headers=headers)
        return web.json_response(discovery.api_versions() if core else discovery.group_list())

    return handle


def _static(value: dict[str, Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    return _json(lambda _: value)


def _document(make: Callable[[], dict[str, Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        return web.json_response(make(), headers={"Cache-Control": "no-cache"})

    return handle


def _json(make: Callable[[web.Request], Any]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response(make(request))

    return handle


async def _ok(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def _ready(store: Store) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        await store.list("namespaces")
        return web.Response(text="ok")

    return handle


def _metrics(store: Store) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")  # noqa: ASYNC230, SIM115 - procfs does not block
        lines = [
            "# TYPE pylis_store_revision counter", f"pylis_store_revision {store.revision}",
            "# TYPE process_resident_memory_bytes gauge", f"process_resident_memory_bytes {resident}",
        ]  # fmt: skip
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    return handle


def _version(version: str) -> dict[str, str]:
    """Kubernetes-style numbers: clients choose their own behaviour by them."""
    return {
        "major": "1", "minor": "32", "gitVersion": f"v1.32.4+pylis-{version}", "platform": "linux/amd64",
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "", "goVersion": "", "compiler": "",
    }  # fmt: skip
