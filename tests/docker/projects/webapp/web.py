"""Asks PostgreSQL and Redis with their own clients for each request, by the names compose gives them."""

import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        rows = run("psql", "-h", "db", "-U", "postgres", "-Atc", "select 40 + 2")
        hits = run("redis-cli", "-h", "cache", "incr", "hits")
        body = f"db={rows} hits={hits}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
