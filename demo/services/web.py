"""A small HTTP service: answers with what it saw, so that one can see what a sidecar let through."""

from __future__ import annotations

import argparse
import asyncio
import json

from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    body = await request.read()
    seen = {
        "service": request.app["name"],
        "method": request.method,
        "path": request.path_qs,
        "peer": request.headers.get("x-forwarded-client-cert", ""),
        "bytes": len(body),
    }
    return web.Response(text=json.dumps(seen) + "\n", content_type="application/json")


async def serve(name: str, host: str, ports: list[int], socket: str) -> None:
    app = web.Application()
    app["name"] = name
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for port in ports:
        await web.TCPSite(runner, host, port).start()
    if socket:
        await web.UnixSite(runner, socket).start()
    print(f"{name} listens on {socket or ports}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", required=True)
    parser.add_argument("--port", type=int, action="append", default=[])
    parser.add_argument("--socket", default="")
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.name, arguments.host, arguments.port, arguments.socket))
