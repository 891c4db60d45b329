"""The programs in docs/examples, as they stand there, against a real agent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
POSTGRES = max(
    Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name)
)
ME = "spiffe://example.org/ns/default/sa/both"


@pytest.fixture
def start(control_plane: Any, tmp_path: Path) -> Iterator[Any]:
    """start(program, *arguments): its output file. Server and client run as this user: one identity is both's."""
    control_plane.register("both")
    agent = control_plane.join("one")
    control_plane.until(lambda: agent.status.get("identities"), "no identity")
    running: list[subprocess.Popen[bytes]] = []

    def run(program: str, *arguments: str) -> Path:
        path = tmp_path / f"{len(running)}.log"
        env = {**os.environ, "SPIFFE_ENDPOINT_SOCKET": f"unix://{agent.socket}"}
        with path.open("wb") as log:
            command = [sys.executable, str(EXAMPLES / program), *arguments]
            running.append(subprocess.Popen(command, stdout=log, stderr=log, env=env, cwd=EXAMPLES))
        return path

    yield run
    for one in running:
        one.terminate()
        one.wait()


def a_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.spiffe("E-09")
def test_server_and_client_talk_by_mutual_tls_and_follow_a_rotation(control_plane: Any, start: Any) -> None:
    port = a_port()
    start("aiohttp_server.py", str(port), ME)
    said = start("aiohttp_client.py", f"https://127.0.0.1:{port}/", ME)

    def serials() -> list[str]:
        lines = [line for line in said.read_text().splitlines() if line.startswith(f"200 hello {ME} ")]
        return list(dict.fromkeys(line.split()[-1] for line in lines))

    control_plane.until(lambda: len(serials()) == 1, said)
    control_plane.register("both", x509TTL="2h")
    control_plane.until(lambda: len(serials()) == 2, said)
    text = said.read_text()
    assert "failed" not in text[text.index("200 hello") :]


def test_neither_talks_to_anybody_else(control_plane: Any, start: Any) -> None:
    port, other = a_port(), ME.replace("both", "other")
    start("aiohttp_server.py", str(port), other)
    refused = start("aiohttp_client.py", f"https://127.0.0.1:{port}/", ME)
    wrong = start("aiohttp_client.py", f"https://127.0.0.1:{port}/", other)
    for said in (refused, wrong):
        control_plane.until(lambda said=said: said.read_text().count("failed") > 20, said)
        assert "200" not in [line.split()[0] for line in said.read_text().splitlines()]
    assert "none of those that may be there" in wrong.read_text()


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that other users get into."""
    with tempfile.TemporaryDirectory(prefix="pylis-svid-", ignore_cleanup_errors=True) as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


class Postgres:
    """A PostgreSQL that speaks TLS with `files` and wants a certificate; its user when we are root is postgres."""

    def __init__(self, files: Path, port: int) -> None:
        self._files, self._port = files, port
        self._who: dict[str, Any] = (
            {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        )
        self._directory = Path(tempfile.mkdtemp(prefix="pylis-pg-"))
        if self._who:
            shutil.chown(self._directory, "postgres", "postgres")
        self.data = self._directory / "data"

    def __enter__(self) -> Postgres:
        self._run("initdb", "-D", str(self.data), "-U", "admin", "--auth=trust", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"port = {self._port}\nlisten_addresses = '127.0.0.1'\nfsync = off\n"
                f"unix_socket_directories = '{self._directory}'\nssl = on\nssl_min_protocol_version = 'TLSv1.3'\n"
                f"ssl_cert_file = '{self._files}/svid.pem'\nssl_key_file = '{self._files}/key.pem'\n"
                f"ssl_ca_file = '{self._files}/bundle.pem'\n"
            )
        hosts = "local all admin trust\nhostssl app app 127.0.0.1/32 trust clientcert=verify-ca\n"
        (self.data / "pg_hba.conf").write_text(hosts)
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [f"{POSTGRES}/postgres", "-D", str(self.data)], stdout=log, stderr=log, cwd="/", **self._who
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        shutil.rmtree(self._directory)

    def is_ready(self) -> bool:
        where = ("-h", str(self._directory), "-p", str(self._port))
        asked = [f"{POSTGRES}/pg_isready", "-q", *where]
        return subprocess.run(asked, check=False, cwd="/").returncode == 0

    def sql(self, database: str, *statements: str) -> None:
        where = ("-h", str(self._directory), "-p", str(self._port), "-U", "admin", "-d", database)
        self._run("psql", *where, "-q", *(word for one in statements for word in ("-c", one)))

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [f"{POSTGRES}/{program}", *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            **self._who,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.skipif(POSTGRES is None, reason="no PostgreSQL server here (Debian: apt-get install postgresql)")
def test_psycopg_and_postgresql_follow_a_rotation_and_no_other_name_will_do(
    control_plane: Any, reachable: Path, start: Any
) -> None:
    control_plane.register("both", dnsNames=["db.shop"])
    port, directory = a_port(), reachable
    files = directory / "server" / "current"
    database = Postgres(files, port)
    again = ["sh", "-c", f'kill -HUP "$(head -1 {database.data}/postmaster.pid)"']
    group = ["--group", "postgres"] if os.geteuid() == 0 else []
    wrote = start("spiffe_files.py", *group, str(files.parent), *again)
    control_plane.until(lambda: "written" in wrote.read_text(), wrote)
    with database:
        control_plane.until(database.is_ready, "no PostgreSQL")
        database.sql("postgres", "CREATE ROLE app LOGIN", "CREATE DATABASE app")
        database.sql("app", "CREATE EXTENSION sslinfo")
        address = f"hostaddr=127.0.0.1 port={port} dbname=app user=app"
        said = start("psycopg_client.py", f"host=db.shop {address}")
        wrong = start("psycopg_client.py", f"host=other.shop {address}")

        def serials() -> list[str]:
            lines = [line for line in said.read_text().splitlines() if line.startswith(f"200 hello {ME} ")]
            return list(dict.fromkeys(line.split()[-1] for line in lines))

        control_plane.until(lambda: len(serials()) == 1, said)
        control_plane.until(lambda: wrong.read_text().count("failed") > 2, wrong)
        leaf = (files / "svid.pem").read_bytes()
        control_plane.register("both", dnsNames=["db.shop"], x509TTL="2h")
        control_plane.until(lambda: len(serials()) == 2, said)
        control_plane.until(lambda: (files / "svid.pem").read_bytes() != leaf, wrote)
        assert "failed" not in said.read_text()
        assert 'does not match host name "other.shop"' in wrong.read_text()
        assert "200" not in wrong.read_text()
        with pytest.raises(psycopg.OperationalError, match="client certificate"):
            psycopg.connect(f"host=db.shop {address} sslmode=require", connect_timeout=10).close()
