"""Its client: python aiohttp_client.py URL spiffe://…/server; an answer a line."""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from spiffe_tls import SpiffeTls


async def main(url: str, server: str) -> None:
    tls = SpiffeTls(server)
    while True:
        # a connection a request, each with the newest SVID; a pool would keep connections by older ones
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls.client())) as session:
            try:
                async with session.get(url) as answer:
                    print(answer.status, await answer.text(), flush=True)
            except aiohttp.ClientError as error:
                print("failed", error, flush=True)
        await asyncio.sleep(0.1)


asyncio.run(main(*sys.argv[1:]))
