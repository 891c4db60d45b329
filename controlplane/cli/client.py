"""The API from the command line: synchronous, standard library only, so that commands start at once.

Which server: --server with --token-file and --ca-file, else a kubeconfig (--kubeconfig, PYLIS_KUBECONFIG,
.pylis/kubeconfig).
Every end that is no answer is a `Failure` in words.
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import os
import ssl
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlencode, urlsplit

import click

from controlplane.cli.output import Exit, Failure

DEFAULT_KUBECONFIG: Final = Path(".pylis/kubeconfig")
TIMEOUT_SECONDS: Final = 30
_SERVER_NAME: Final = "server.pylis.internal"
_EXITS: Final = {404: Exit.NO, **dict.fromkeys((400, 409, 413, 415, 422), Exit.INVALID)}


class NoServerError(Failure):
    """No kubeconfig and no --server."""


class UnreachableError(Failure):
    """No answer: the server does not run, or not there."""


class RefusedError(Failure):
    """The server answered with a Status; `status` is its HTTP code."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        code = _EXITS.get(status, Exit.UNREACHABLE)
        hint = "is this another mesh's token?   pylis kubeconfig prints the one of the server here"
        super().__init__(_words(status, body), hint=hint if status == 401 else "", code=code)
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True)
class Client:
    """`server` is `https://host:port`; the certificate must carry the name of every control plane."""

    server: str
    token: str = field(repr=False)
    context: ssl.SSLContext = field(repr=False)

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Any:
        """The JSON answer. Raises: RefusedError; Failure when the server cannot be reached."""
        with self._asked(method, path, body, (content_type, accept), TIMEOUT_SECONDS) as response:
            return _json(response.read(), self.server)

    def clock(self) -> float | None:
        """The server's, in whole seconds since 1970; None where it does not say. Raises: as `request`."""
        with self._asked("GET", "/version", None, ("", "application/json"), TIMEOUT_SECONDS) as response:
            response.read()
            date = response.headers["Date"]
        return parsedate_to_datetime(date).timestamp() if date else None

    def list(
        self, api_version: str, plural: str, namespace: str | None = None, **query: str
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.request("GET", collection(api_version, plural, namespace, query))[
            "items"
        ]
        return found

    def watch(self, path: str, *, accept: str = "application/json") -> Iterator[dict[str, Any]]:
        """Events until the server ends the stream. Raises: as `request`."""
        with self._asked("GET", path, None, ("", accept), None) as response:
            for line in response:
                yield _json(line, self.server)

    @contextmanager
    def _asked(
        self, method: str, path: str, body: Any, types: tuple[str, str], timeout: float | None
    ) -> Generator[http.client.HTTPResponse]:
        """An answer below 400; the connection ends with the block."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": types[1]}
        data = None
        if body is not None:
            headers["Content-Type"] = types[0]
            data = json.dumps(body).encode()
        parts = urlsplit(self.server)
        connection = _Connection(parts.hostname or "", parts.port or 443, self.context, timeout)
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            if response.status >= 400:
                raise RefusedError(response.status, _json(response.read(), self.server))
            yield response
        except ssl.SSLError as error:
            hint = "is this another mesh's kubeconfig?   pylis kubeconfig prints the one of the server here"
            text = f"{self.server} could not prove who it is: {error.reason}"
            raise Failure(text, hint=hint, code=Exit.UNREACHABLE) from error
        except OSError as error:
            raise self._unreachable((error.strerror or str(error)).lower()) from error
        except http.client.HTTPException as error:
            raise self._unreachable(f"no answer that HTTP knows ({type(error).__name__})") from error
        finally:
            connection.close()

    def _unreachable(self, why: str) -> UnreachableError:
        hint = "is it running?   pylis server --data-dir …   or a whole mesh: pylis up -f mesh.yaml"
        text = f"cannot reach the control plane at {self.server}: {why}"
        return UnreachableError(text, hint=hint, code=Exit.UNREACHABLE)


class _Connection(http.client.HTTPSConnection):
    """Checks the name every control plane's certificate carries, whatever address it is reached by."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout: float | None) -> None:
        super().__init__(host, port, context=context, timeout=timeout)
        self._trust = context

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        plain = self.sock
        try:
            self.sock = self._trust.wrap_socket(plain, server_hostname=_SERVER_NAME)
        except OSError:
            plain.close()
            raise


def collection(
    api_version: str, plural: str, namespace: str | None = None, query: dict[str, str] | None = None
) -> str:
    """The path of a collection; `namespace` None: of all namespaces."""
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    inside = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
    wanted = urlencode({name: value for name, value in (query or {}).items() if value})
    return f"{root}{inside}/{plural}" + (f"?{wanted}" if wanted else "")


def member(api_version: str, plural: str, namespace: str | None, name: str) -> str:
    """The path of one object. An empty name would be the whole collection: it is refused."""
    if not name:
        raise Failure("an object needs a name", hint="set metadata.name")
    return f"{collection(api_version, plural, namespace)}/{quote(name, safe='')}"


def _json(data: bytes, server: str) -> Any:
    try:
        return json.loads(data) if data.strip() else {}
    except ValueError:
        text = f"{server} answers, but not as a control plane does"
        hint = "is the address right?   the API's is the one pylis server prints when it is ready"
        raise Failure(text, hint=hint, code=Exit.UNREACHABLE) from None


def _words(status: int, body: Any) -> str:
    """The server's own words; a problem a line when there are several."""
    answer = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
    message = str(answer.get("message") or f"the server refused with status {status}")
    details = answer.get("details")
    causes = cast("dict[str, Any]", details).get("causes") if isinstance(details, dict) else None
    listed = cast("list[Any]", causes) if isinstance(causes, list) else []
    rows = [cast("dict[str, Any]", c) for c in listed if isinstance(c, dict)]
    lines = [f"  {row.get('field')}  {row.get('message')}" for row in rows]
    head = message.partition(" is invalid: ")[0]
    return "\n".join([f"{head} is invalid; the server refused it.", *lines]) if len(lines) > 1 else message


@dataclass(frozen=True, slots=True)
class Stranger:
    """A server, before one has proved to it who one is."""

    server: str
    ca_pem: str = field(repr=False)
    ca_from: str = ""

    def get(self, path: str) -> Any:
        """What anybody may read. Raises: RefusedError; Failure."""
        return self.with_token("none").request("GET", path)

    def with_token(self, token: str) -> Client:
        """Raises: Failure."""
        return _client(self.server, token, self.ca_pem, self.ca_from)


def place(kubeconfig: Path | None, server: str, ca_file: Path | None) -> Stranger:
    """Which server, whoever asks. Raises: NoServerError, Failure."""
    if server:
        if ca_file is None:
            raise Failure(
                "--server needs --ca-file",
                hint="pylis bundle show --format pem prints it, where one is known",
            )
        return Stranger(server, _read(ca_file), str(ca_file))
    config = _kubeconfig(kubeconfig)
    return Stranger(config.server, config.ca_pem, str(config.path))


@dataclass(frozen=True, slots=True)
class _Config:
    path: Path
    server: str
    ca_pem: str
    user: Any = field(repr=False)


def _kubeconfig(given: Path | None) -> _Config:
    path = given or Path(os.environ.get("PYLIS_KUBECONFIG", DEFAULT_KUBECONFIG))
    if not path.exists():
        hint = "start one here with pylis up or pylis server, or name its kubeconfig: --kubeconfig FILE"
        text = f"no control plane is known: there is no {path}"
        raise NoServerError(text, hint=hint, code=Exit.UNREACHABLE)
    try:
        config = json.loads(_read(path))
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        ca_pem = base64.b64decode(cluster["certificate-authority-data"]).decode("ascii")
        return _Config(path, str(cluster["server"]), ca_pem, user)
    except (ValueError, KeyError, StopIteration, TypeError):
        raise Failure(
            f"{path} is no kubeconfig that Pylis wrote", hint="pylis kubeconfig prints one"
        ) from None


def _token_of(config: _Config) -> str:
    """The user's token, or the one of their login. Raises: Failure."""
    user = cast("dict[str, Any]", config.user) if isinstance(config.user, dict) else {}
    if "exec" in user:
        from controlplane.cli.login_tokens import current, tokens_file

        if (file := tokens_file(user)) is not None:
            return current(file).identity
    token = user.get("token")
    if not isinstance(token, str):
        text = f"{config.path} is no kubeconfig that Pylis wrote: its user has no token"
        raise Failure(text, hint="pylis kubeconfig prints one")
    return token


def connect(
    kubeconfig: Path | None = None,
    server: str = "",
    token_file: Path | None = None,
    ca_file: Path | None = None,
) -> Client:
    """Connects nowhere yet. Raises: NoServerError, Failure."""
    if server:
        if token_file is None or ca_file is None:
            text = "--server needs --token-file and --ca-file"
            raise Failure(text, hint="or name a kubeconfig: --kubeconfig FILE")
        return _client(server, _read(token_file).strip(), _read(ca_file), str(ca_file))
    config = _kubeconfig(kubeconfig)
    return _client(config.server, _token_of(config), config.ca_pem, str(config.path))


def options(function: Callable[..., object]) -> Callable[..., object]:
    """--kubeconfig, --server, --token-file, --ca-file as one parameter: `client()` connects."""
    path = click.Path(path_type=Path)

    @click.option("--kubeconfig", type=path, help="[default: PYLIS_KUBECONFIG or .pylis/kubeconfig]")
    @click.option("--server", default="", envvar="PYLIS_SERVER", help="https://host:port")
    @click.option("--token-file", type=path, envvar="PYLIS_TOKEN_FILE", help="Holds the bearer token.")
    @click.option("--ca-file", type=path, envvar="PYLIS_CA_FILE", help="The mesh's trust bundle (PEM).")
    @functools.wraps(function)
    def wrapped(
        *args: Any,
        kubeconfig: Path | None,
        server: str,
        token_file: Path | None,
        ca_file: Path | None,
        **rest: Any,
    ) -> object:
        return function(*args, client=lambda: connect(kubeconfig, server, token_file, ca_file), **rest)

    return wrapped


def _client(server: str, token: str, ca_pem: str, ca_from: str) -> Client:
    try:
        parts = urlsplit(server)
        usable = (
            parts.scheme == "https" and bool(parts.hostname) and parts.path in ("", "/") and parts.port != 0
        )
    except ValueError:
        usable = False
    if not usable:
        raise Failure(f'"{server}" is no address of an API', hint="write https://host:port")
    if not token.isascii() or not token.isprintable() or not token:
        raise Failure(
            "the bearer token is empty or no token", hint="pylis kubeconfig prints a kubeconfig with one"
        )
    try:
        context = ssl.create_default_context(cadata=ca_pem)
    except (ssl.SSLError, ValueError):
        raise Failure(
            f"{ca_from} holds no certificate authority", hint="pylis bundle show prints it"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return Client(server.rstrip("/"), token, context)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "not text"
        raise Failure(f"cannot read {path}: {why}") from error
