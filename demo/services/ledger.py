"""A raw TCP service: numbers each line it is sent."""

from __future__ import annotations

import argparse
import asyncio


async def book(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    count = 0
    while line := await reader.readline():
        count += 1
        writer.write(b"booked %d: %s" % (count, line))
        await writer.drain()
    writer.close()


async def serve(host: str, port: int) -> None:
    server = await asyncio.start_server(book, host, port)
    print(f"ledger listens on {port}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.host, arguments.port))
