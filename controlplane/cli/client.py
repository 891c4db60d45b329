"""The API from the command line: synchronous, standard library only, so that commands start at once.

Which server: --server/--token-file/--ca-file, else a kubeconfig (--kubeconfig, PYLIS_KUBECONFIG, .pylis/kubeconfig).
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode, urlsplit

import click

from controlplane.cli.output import Exit, Failure

DEFAULT_KUBECONFIG: Final = Path(".pylis/kubeconfig")
TIMEOUT_SECONDS: Final = 30
_SERVER_NAME: Final = "server.pylis.internal"


class NoServerError(Failure):
    """No kubeconfig and no --server."""


class RefusedError(Failure):
    """The server answered with a Status."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("message", f"status {status}")), code=Exit.UNREACHABLE)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Client:
    server: str
    token: str = field(repr=False)
    context: ssl.SSLContext = field(repr=False)

    def request(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json", accept: str = "application/json"
    ) -> Any:
        """The JSON answer. Raises: RefusedError; Failure when the server cannot be reached."""
        connection = self._connect(TIMEOUT_SECONDS)
        try:
            response = self._send(connection, method, path, body, content_type, accept)
            data = response.read()
        except OSError as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()
        value: Any = json.loads(data) if data else {}
        if response.status >= 400:
            raise RefusedError(response.status, cast("dict[str, Any]", value))
        return value

    def list(self, api_version: str, plural: str, namespace: str | None = None, **query: str) -> list[dict[str, Any]]:
        return self.request("GET", collection(api_version, plural, namespace) + _query(query))["items"]

    def watch(self, path: str) -> Iterator[dict[str, Any]]:
        """Events without end."""
        connection = self._connect(None)
        try:
            response = self._send(connection, "GET", path, None, "", "application/json")
            for line in response:
                yield json.loads(line)
        except OSError as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connect(self, timeout: float | None) -> http.client.HTTPSConnection:
        parts = urlsplit(self.server)
        connection = _Connection(parts.hostname or "", parts.port or 443, context=self.context, timeout=timeout)
        try:
            connection.connect()
        except ssl.SSLError as error:
            hint = "is this another mesh's kubeconfig?   pylis kubeconfig prints the one of the server here"
            raise Failure(f"{self.server} could not prove who it is: {error.reason}", hint=hint, code=Exit.UNREACHABLE) from error
        except OSError as error:
            raise self._unreachable(error) from error
        return connection

    def _send(
        self, connection: http.client.HTTPSConnection, method: str, path: str, body: Any, content_type: str, accept: str
    ) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": accept}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        connection.request(method, path, data, headers)
        return connection.getresponse()

    def _unreachable(self, error: OSError) -> Failure:
        text = (error.strerror or str(error)).lower()
        hint = "is it running?   pylis server --data-dir …   or a whole mesh: pylis up -f mesh.yaml"
        return Failure(f"cannot reach the control plane at {self.server}: {text}", hint=hint, code=Exit.UNREACHABLE)


class _Connection(http.client.HTTPSConnection):
    """Checks the name every control plane's certificate carries, whatever address it is reached by."""

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        context: Any = self._context  # type: ignore[attr-defined] - http.client's own
        self.sock = context.wrap_socket(self.sock, server_hostname=_SERVER_NAME)


def collection(api_version: str, plural: str, namespace: str | None = None) -> str:
    """The path of a collection; `namespace` None: of all namespaces."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    return f"{root}/namespaces/{namespace}/{plural}" if namespace else f"{root}/{plural}"


def connect(
    kubeconfig: Path | None = None, server: str = "", token_file: Path | None = None, ca_file: Path | None = None
) -> Client:
    """Raises: NoServerError, Failure."""
    if server:
        if token_file is None or ca_file is None:
            raise Failure("--server needs --token-file and --ca-file", hint="or name a kubeconfig: --kubeconfig FILE")
        try:
            return _client(server, token_file.read_text().strip(), ca_file.read_text())
        except OSError as error:
            raise Failure(f"cannot read {error.filename}: {error.strerror}") from error
    path = kubeconfig or Path(os.environ.get("PYLIS_KUBECONFIG", DEFAULT_KUBECONFIG))
    try:
        return _from_kubeconfig(json.loads(path.read_text()))
    except FileNotFoundError:
        hint = "start one here with pylis up or pylis server, or name its kubeconfig: --kubeconfig FILE"
        raise NoServerError(f"no control plane is known: there is no {path}", hint=hint, code=Exit.UNREACHABLE) from None
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, IndexError, TypeError):
        raise Failure(f"{path} is no kubeconfig that Pylis wrote", hint="pylis kubeconfig prints one") from None


def options(function: Callable[..., object]) -> Callable[..., object]:
    """--kubeconfig, --server, --token-file, --ca-file as one parameter `client` (a function that connects)."""
    import functools

    @click.option("--kubeconfig", type=click.Path(path_type=Path), help="Which server, as kubectl knows it.  [default: .pylis/kubeconfig]")
    @click.option("--server", default="", envvar="PYLIS_SERVER", help="https://host:port, with --token-file and --ca-file.")
    @click.option("--token-file", type=click.Path(path_type=Path), envvar="PYLIS_TOKEN_FILE")
    @click.option("--ca-file", type=click.Path(path_type=Path), envvar="PYLIS_CA_FILE")
    @functools.wraps(function)
    def wrapped(*args: Any, kubeconfig: Path | None, server: str, token_file: Path | None, ca_file: Path | None, **rest: Any) -> object:
        return function(*args, client=lambda: connect(kubeconfig, server, token_file, ca_file), **rest)

    return wrapped


def _from_kubeconfig(config: Any) -> Client:
    context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
    cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
    user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
    ca = base64.b64decode(cluster["certificate-authority-data"]).decode("ascii")
    return _client(cluster["server"], user["token"], ca)


def _client(server: str, token: str, ca_pem: str) -> Client:
    context = ssl.create_default_context(cadata=ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return Client(server, token, context)


def _query(query: dict[str, str]) -> str:
    return f"?{urlencode(query)}" if query else ""
