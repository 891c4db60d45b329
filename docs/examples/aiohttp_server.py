"""An aiohttp server for one caller, by mutual TLS: python aiohttp_server.py PORT spiffe://…/caller"""

from __future__ import annotations

import sys

from aiohttp import web
from spiffe_tls import SpiffeTls


async def hello(request: web.Request) -> web.Response:
    certificate = request.get_extra_info("peercert")
    (caller,) = [name for kind, name in certificate["subjectAltName"] if kind == "URI"]
    return web.Response(text=f"hello {caller} {certificate['serialNumber']}")


app = web.Application()
app.router.add_get("/", hello)
web.run_app(
    app, host="127.0.0.1", port=int(sys.argv[1]), ssl_context=SpiffeTls(sys.argv[2]).server(), print=None
)
