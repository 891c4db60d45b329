"""A container engine as its API shows it, on a real Unix socket: what is asked is done to a dictionary.

Source: Docker Engine API 1.41: containers, images, events
"""

from __future__ import annotations

import json
import queue
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import docker

from agent.docker.engine import Engine


class EngineServer:
    """`containers` by id, as `inspect` gives them; `refuse`: the next creations fail with this text."""

    def __init__(self, path: Path) -> None:
        self.containers: dict[str, dict[str, Any]] = {}
        self._made = 0
        self.refuse = ""
        self.refuse_start = ""
        self.events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._path = path
        outer = self

        class Handler(_Handler):
            engine = outer

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = False  # all of them have answered when it is closed

        self._server = Server(str(path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> EngineServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        for _ in range(8):  # whoever still listens
            self.events.put(None)
        self._server.server_close()
        self._thread.join()

    def connect(self) -> Engine:
        client: Any = docker.DockerClient(base_url=f"unix://{self._path}", version="1.41", timeout=5)
        return Engine(client, self._path)

    @contextmanager
    def replaced(self) -> Iterator[Engine]:
        """Its socket is gone under the one who has it mounted; an open file stands for the mount."""
        with (self._path.parent / "mounted").open("w") as mounted:
            Path(mounted.name).unlink()
            client: Any = docker.DockerClient(base_url=f"unix://{mounted.name}", version="1.41", timeout=5)
            yield Engine(client, Path(f"/proc/self/fd/{mounted.fileno()}"))
            client.close()

    def put(self, container: dict[str, Any]) -> None:
        self.containers[container["Id"]] = container

    def happened(self, what: str, container: dict[str, Any]) -> None:
        labels = container["Config"]["Labels"]
        self.events.put({"Action": what, "Actor": {"ID": container["Id"], "Attributes": labels}})

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        match method, path.strip("/").split("/"):
            case "GET", ["version"]:
                return 200, {"Version": "20.10.24", "ApiVersion": "1.41"}
            case "GET", ["containers", "json"]:
                return 200, self._listed(query)
            case "GET", ["containers", name, "json"]:
                found = self._find(name)
                return (200, found) if found else (404, {"message": f"No such container: {name}"})
            case "GET", ["images", image, "json"]:
                return 200, {"Id": image, "RepoDigests": ["web@sha256:" + "0" * 64]}
            case "POST", ["containers", "create"]:
                return self._create(query["name"][0], body)
            case "POST", ["containers", name, "start"]:
                return self._start(name)
            case "DELETE", ["containers", name]:
                found = self._find(name)
                if found is None:
                    return 404, {"message": f"No such container: {name}"}
                del self.containers[found["Id"]]
                return 204, None
            case _:
                return 500, {"message": f"{method} {path}"}

    def _listed(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        wanted = json.loads(query.get("filters", ["{}"])[0]).get("label", [])
        everything = query.get("all", ["0"])[0] in ("1", "True", "true")
        return [
            {"Id": one["Id"], "Labels": one["Config"]["Labels"], "Names": [one["Name"]]}
            for one in self.containers.values()
            if (everything or one["State"]["Running"])
            and all(_has(one["Config"]["Labels"], label) for label in wanted)
        ]

    def _find(self, name: str) -> dict[str, Any] | None:
        found = (c for c in self.containers.values() if c["Id"] == name or c["Name"] == f"/{name}")
        return next(found, None)

    def _create(self, name: str, body: dict[str, Any]) -> tuple[int, Any]:
        if self.refuse:
            return 500, {"message": self.refuse}
        self._made += 1
        made = f"{self._made:064x}"
        self.put(
            {
                "Id": made, "Name": f"/{name}", "Image": "sha256:aa", "Config": {**body, "Labels": body["Labels"]},
                "State": {"Running": False, "Pid": 0, "StartedAt": ""}, "HostConfig": body["HostConfig"],
                "NetworkSettings": {"Networks": {}},
            }
        )  # fmt: skip
        return 201, {"Id": made, "Warnings": []}

    def _start(self, name: str) -> tuple[int, Any]:
        found = self._find(name)
        if found is None or self.refuse_start:
            return 500, {"message": self.refuse_start or "no such container"}
        found["State"] = {"Running": True, "Pid": 43, "StartedAt": "t1"}
        return 204, None


def _has(labels: dict[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


class _Handler(BaseHTTPRequestHandler):
    engine: EngineServer
    protocol_version = "HTTP/1.1"

    def _do(self) -> None:
        parts = urlsplit(self.path)
        path = re.sub(r"^/v[0-9.]+", "", parts.path)
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"null")
        if path == "/events":
            self._events()
            return
        status, answer = self.engine.answer(self.command, path, parse_qs(parts.query), body)
        data = b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _do

    def _events(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        with suppress(OSError):
            while (event := self.engine.events.get()) is not None:
                line = json.dumps(event).encode() + b"\n"
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "unix"
