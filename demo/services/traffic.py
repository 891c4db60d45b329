"""Calls the shop's services without end, as its frontend: plain HTTP, gRPC and TCP, no proxy, no certificate.

One line a call: what was asked, and what came of it. Serves a health port, so that it is a service like the others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from demo.client import Http, call_grpc

CALLS = (
    ("catalog.shop:8080", "GET", "/items"),
    ("catalog.shop:8080", "GET", "/items/7"),
    ("catalog.shop:8080", "DELETE", "/items/7"),
    ("orders.shop:8080", "POST", "/orders"),
    ("catalog.shop:8080", "GET", "/admin"),
    ("payments.pay:8080", "POST", "/charges"),
)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"frontend\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Its own lines are the calls."""


def call_for_ever(pause: float) -> None:
    for number in itertools.count():
        host, method, path = CALLS[number % len(CALLS)]
        connection = Http(host, host)
        outcome = connection.send(method, path)
        connection.close()
        print(json.dumps({"to": host, "request": f"{method} {path}", "verdict": outcome.actual}), flush=True)
        if number % len(CALLS) == 0:
            quote = call_grpc("pricing.shop:9000", "/shop.Pricing/Quote")
            line = {"to": "pricing.shop:9000", "request": "/shop.Pricing/Quote", "verdict": quote.actual}
            print(json.dumps(line), flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--pause", type=float, default=1.0)
    arguments = parser.parse_args()
    threading.Thread(target=call_for_ever, args=(arguments.pause,), daemon=True).start()
    ThreadingHTTPServer((arguments.host, arguments.port), Answer).serve_forever()
