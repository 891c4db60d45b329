"""Sends one of the demo's requests, as JSON says; from inside a container: JSON lines in, what the caller saw out.

`python -m demo.probe`, then a line a request: {"how": "http", "address": "catalog.shop:8080", "host": …, "method": …,
"path": …, "headers": {}, "credentials": DIR or "", "roots": FILE or "", "keep": NAME or "", "proxy": bool}. A
connection that is kept is used again by the next request that names it. Standard library and grpc.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demo.client import Credentials, Http, Outcome, ask_xds, call_grpc, talk_tcp


def answer(asked: dict[str, Any], kept: dict[str, Http]) -> Outcome:
    match asked["how"]:
        case "http":
            return _http(asked, kept)
        case "grpc":
            return call_grpc(asked["address"], asked["path"])
        case "tcp":
            return talk_tcp(asked["address"])
        case "xds":
            return ask_xds(asked["address"], Credentials(Path(asked["credentials"])), asked["node"])
        case other:
            raise ValueError(f"how: {other}")


def _http(asked: dict[str, Any], kept: dict[str, Http]) -> Outcome:
    name = asked.get("keep", "")
    connection = kept.get(name)
    if connection is None:
        context = None
        if asked.get("credentials"):
            roots = Path(asked["roots"]) if asked.get("roots") else None
            context = Credentials(Path(asked["credentials"])).context(roots)
        host = asked.get("host") or asked["address"]
        connection = Http(asked["address"], host, bool(asked.get("proxy")), context)
    outcome = connection.send(asked["method"], asked["path"], asked.get("headers"))
    if name:
        kept[name] = connection
    else:
        connection.close()
    return outcome


if __name__ == "__main__":
    connections: dict[str, Http] = {}
    for line in sys.stdin:
        print(json.dumps(asdict(answer(json.loads(line), connections))), flush=True)
