"""A git repository behind smart HTTPS, for tests: git's own http-backend, called as a CGI."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from tests.integration.openid_provider import a_certificate


class GitServer:
    """`commit` makes the branch main hold exactly these files; `password` "" lets anybody read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / "work"
        self.url = ""
        self.password = ""
        self.is_down = False
        self.requests = 0
        self._git("init", "-q", "-b", "main", str(self.work))
        self._git("init", "-q", "--bare", "-b", "main", str(directory / "repo.git"))

    def commit(self, files: dict[str, str], *, links: dict[str, str] | None = None) -> str:
        self._git("rm", "-rqf", "--ignore-unmatch", ".")
        for name, text in files.items():
            path = self.work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for name, target in (links or {}).items():
            (self.work / name).parent.mkdir(parents=True, exist_ok=True)
            (self.work / name).symlink_to(target)
        self._git("add", "-A")
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        self._git(*identity, "commit", "-q", "--allow-empty", "-m", "x")
        self._git("push", "-q", "--force", str(self.directory / "repo.git"), "main")
        return self._git("rev-parse", "HEAD").strip()

    @property
    def ca_pem(self) -> str:
        return (self.directory / "ca.pem").read_text()

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[None]:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._answer)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*a_certificate(self.directory))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}/repo.git"
        yield
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.is_down:
            return web.Response(status=503)
        wanted = f"Basic {base64.b64encode(f'git:{self.password}'.encode()).decode()}"
        if self.password and request.headers.get("Authorization") != wanted:
            return web.Response(status=401, headers={"WWW-Authenticate": "Basic"})
        environment = {
            "PATH": os.environ["PATH"], "GIT_PROJECT_ROOT": str(self.directory), "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.path, "QUERY_STRING": request.query_string, "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
        }  # fmt: skip
        pipe = asyncio.subprocess.PIPE
        backend = await asyncio.create_subprocess_exec(
            "git", "http-backend", env=environment, stdin=pipe, stdout=pipe
        )
        out, _ = await backend.communicate(await request.read())
        head, _, body = out.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(headers.pop("Status", "200").split()[0])
        return web.Response(status=status, headers=headers, body=body)

    def _git(self, *arguments: str) -> str:
        home = {"HOME": str(self.directory), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}
        place = self.work if self.work.exists() else self.directory
        done = subprocess.run(
            ["git", *arguments], cwd=place, env=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout
