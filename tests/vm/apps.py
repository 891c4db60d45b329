"""What runs on the machines: started by path, in a Python of its own. `http PORT`, `echo PORT`, `get HOST PORT NAME`, `say HOST PORT`,
`hold HOST PORT`.

`hold` keeps one connection: for each line on stdin it says what came back.
"""

from __future__ import annotations

import http.client
import http.server
import socket
import socketserver
import sys
from typing import Any


class Say(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = (self.headers.get("x-forwarded-client-cert") or "plain").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"hello\n")  # the server speaks first, as ssh does
        while data := self.request.recv(4096):
            self.request.sendall(data)


class Echoing(socketserver.ThreadingTCPServer):
    """On IPv4 and IPv6."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def get(host: str, port: int, name: str) -> str:
    """`200 what it said`, or the error."""
    try:
        connection = http.client.HTTPConnection(host, port, timeout=10)
        connection.request("GET", "/", headers={"host": name})
        answer = connection.getresponse()
        return f"{answer.status} {answer.read().decode()}"
    except OSError as error:
        return f"error {type(error).__name__}"
    except http.client.HTTPException as error:
        return f"error {type(error).__name__}"


def hold(host: str, port: int) -> None:
    with socket.create_connection((host, port), timeout=10) as connection:
        stream = connection.makefile("rwb", buffering=0)
        print(stream.readline().decode().strip(), flush=True)
        for line in sys.stdin:
            stream.write(line.encode())
            print(stream.readline().decode().strip(), flush=True)


def say(host: str, port: int) -> str:
    """All that came back; what is said first lets whoever waits for TLS see at once that it is none."""
    try:
        with socket.create_connection((host, port), timeout=10) as connection:
            connection.sendall(b"again\n")
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read().decode()
    except OSError as error:
        return f"error {type(error).__name__}"


def main() -> None:
    match sys.argv[1:]:
        case ["http", port]:
            http.server.ThreadingHTTPServer(("0.0.0.0", int(port)), Say).serve_forever()
        case ["echo", port]:
            Echoing(("::", int(port)), Echo).serve_forever()
        case ["hold", host, port]:
            hold(host, int(port))
        case ["say", host, port]:
            print(say(host, int(port)))
        case ["get", host, port, name]:
            print(get(host, int(port), name))
        case _:
            sys.exit(f"usage: {__doc__}")


if __name__ == "__main__":
    main()
