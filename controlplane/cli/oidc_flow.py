"""How a person gets an ID token: in the browser with a loopback redirect and PKCE, or by a code typed elsewhere.

Standard library only. HTTPS only, no redirects followed, answers bounded. The ID token comes over TLS from the token
endpoint itself; what it says is checked here for whom it is, and by the server before it is worth anything.
Source: RFC 8252, RFC 7636, RFC 8628; OpenID Connect Core 1.0 §3.1.3.7
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import base64
import hashlib
import http.client
import http.server
import json
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from controlplane.cli.output import Exit, Failure

LOGIN_SECONDS: Final = 300.0
REQUEST_SECONDS: Final = 20.0
MAX_ANSWER: Final = 1024 * 1024
_CODE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Tokens:
    """`expires` in Unix seconds; `refresh` "" when the provider gave none."""

    identity: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    expires: float = 0.0


@dataclass(frozen=True, slots=True)
class Provider:
    """An issuer as its discovery document describes it, and who we are to it."""

    issuer: str
    client_id: str
    scopes: tuple[str, ...]
    ca_pem: str
    endpoints: Mapping[str, Any]

    @classmethod
    def discover(cls, issuer: str, client_id: str, scopes: tuple[str, ...], ca_pem: str) -> Provider:
        """Raises: Failure."""
        about = _ask(f"{issuer.rstrip('/')}/.well-known/openid-configuration", ca_pem)
        if about.get("issuer") != issuer:
            raise _failed(f"{issuer} says that it is {about.get('issuer')}", "ask who runs the control plane")
        return cls(issuer, client_id, scopes, ca_pem, about)

    @property
    def has_devices(self) -> bool:
        return "device_authorization_endpoint" in self.endpoints

    def endpoint(self, name: str) -> str:
        url = self.endpoints.get(name)
        if not isinstance(url, str) or urlsplit(url).scheme != "https":
            raise _failed(
                f"{self.issuer} names no https {name.replace('_', ' ')}", "try the other way: --device"
            )
        return url

    def ask(self, name: str, form: Mapping[str, str]) -> dict[str, Any]:
        """A form to one of its endpoints; an OAuth error is an answer, too. Raises: Failure."""
        return _ask(self.endpoint(name), self.ca_pem, {"client_id": self.client_id, **form})


def by_browser(provider: Provider, open_page: Callable[[str], None]) -> Tokens:
    """`open_page` shows a page to the person. Raises: Failure."""
    verifier, state, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    with _Redirect(state) as redirect:
        query = {
            "response_type": "code", "client_id": provider.client_id, "redirect_uri": redirect.url,
            "scope": " ".join(provider.scopes), "state": state, "nonce": nonce,
            "code_challenge": _challenge(verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        page = provider.endpoint("authorization_endpoint")
        open_page(f"{page}{'&' if '?' in page else '?'}{urlencode(query)}")
        code = redirect.wait()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect.url,
            "code_verifier": verifier,
        }
        answer = provider.ask("token_endpoint", form)
    return _tokens(provider, answer, nonce)


def by_device(provider: Provider, show: Callable[[str, str], None]) -> Tokens:
    """`show(page, code)` tells the person where to type what. Raises: Failure."""
    asked = provider.ask("device_authorization_endpoint", {"scope": " ".join(provider.scopes)})
    device, code = asked.get("device_code"), asked.get("user_code")
    page = asked.get("verification_uri_complete") or asked.get("verification_uri")
    if not isinstance(device, str) or not isinstance(code, str) or not isinstance(page, str):
        raise _refused(provider, asked)
    show(page, code)
    pause = _seconds(asked, "interval", 5)
    end = time.monotonic() + min(LOGIN_SECONDS, _seconds(asked, "expires_in", LOGIN_SECONDS))
    while time.monotonic() < end:
        answer = provider.ask("token_endpoint", {"grant_type": _CODE, "device_code": device})
        match answer.get("error"):
            case None:
                return _tokens(provider, answer)
            case "authorization_pending":
                pass
            case "slow_down":
                pause += _SLOWER_SECONDS
            case _:
                raise _refused(provider, answer)
        time.sleep(pause)
    raise _failed("nobody typed the code in time", "run pylis login again")


def refreshed(provider: Provider, tokens: Tokens) -> Tokens:
    """Raises: Failure."""
    answer = provider.ask("token_endpoint", {"grant_type": "refresh_token", "refresh_token": tokens.refresh})
    return _tokens(provider, {"refresh_token": tokens.refresh, **answer})


def claims_of(token: str) -> dict[str, Any]:
    """What an ID token says, believed by nobody yet. Raises: ValueError."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    claims: Any = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(claims, dict):
        raise ValueError("the claims are no object")  # noqa: TRY004 - as for anything else that is no token
    return claims


class _Redirect:
    """A listener on loopback for the one redirect that brings the code."""

    def __init__(self, state: str) -> None:
        found = self._found = dict[str, str]()

        class Handler(http.server.BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                ours = parts.path == "/callback" and secrets.compare_digest(query.get("state", ""), state)
                if ours and ("code" in query or "error" in query):
                    found.update(query)
                self.send_response(200 if ours else 404)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.end_headers()
                self.wfile.write(b"You can close this page." if ours else b"Not found.")

            def log_message(self, format: str, *args: Any) -> None:
                """A code does not belong into a terminal."""

        self._server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback"

    def __enter__(self) -> _Redirect:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def wait(self) -> str:
        """The code. Raises: Failure."""
        end = time.monotonic() + LOGIN_SECONDS
        while not self._found:
            self._server.timeout = end - time.monotonic()
            if self._server.timeout <= 0:
                raise _failed(
                    "nobody logged in within five minutes", "run pylis login again, or with --device"
                )
            self._server.handle_request()
        if "code" not in self._found:
            raise _failed(
                f"the provider refused: {_printable(self._found['error'])}", "ask who runs the provider"
            )
        return self._found["code"]


def _tokens(provider: Provider, answer: Mapping[str, Any], nonce: str = "") -> Tokens:
    token = answer.get("id_token")
    if not isinstance(token, str):
        raise _refused(provider, answer)
    try:
        claims = claims_of(token)
        expires = float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        raise _failed(f"{provider.issuer} sent no ID token that can be read", "ask who runs it") from None
    audience = claims.get("aud")
    meant = provider.client_id in (audience if isinstance(audience, list) else [audience])
    if claims.get("iss") != provider.issuer or not meant or (nonce and claims.get("nonce") != nonce):
        raise _failed("the ID token is for somebody else, or of another login", "run pylis login again")
    refresh = answer.get("refresh_token")
    return Tokens(token, refresh if isinstance(refresh, str) else "", expires)


def _ask(url: str, ca_pem: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
    """GET, or POST of a form; the JSON object that answers."""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        raise _failed(f"{url} is no https URL", "ask who runs the control plane")
    context = ssl.create_default_context(cadata=ca_pem or None)
    connection = http.client.HTTPSConnection(
        parts.hostname, parts.port or 443, context=context, timeout=REQUEST_SECONDS
    )
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    headers = {"Accept": "application/json"}
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        connection.request(
            "GET" if form is None else "POST", path, urlencode(form) if form else None, headers
        )
        response = connection.getresponse()
        status, body = response.status, response.read(MAX_ANSWER + 1)
    except (OSError, http.client.HTTPException) as error:
        text = f"{parts.hostname} cannot be asked: {error or type(error).__name__}"
        raise _failed(text, "is the address right?") from error
    finally:
        connection.close()
    try:
        answer: Any = json.loads(body) if len(body) <= MAX_ANSWER else None
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or (status != 200 and "error" not in answer):
        raise _failed(f"{url} answers with status {status} and no JSON object", "is the address right?")
    return answer


def _refused(provider: Provider, answer: Mapping[str, Any]) -> Failure:
    why = answer.get("error_description") or answer.get("error") or "it sent no ID token"
    return _failed(
        f"{provider.issuer} refused: {_printable(str(why))}", "pylis login again, or ask who runs it"
    )


def _failed(text: str, hint: str) -> Failure:
    return Failure(text, hint=hint, code=Exit.UNREACHABLE)


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _seconds(answer: Mapping[str, Any], name: str, default: float) -> float:
    value = answer.get(name)
    return (
        max(1.0, float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else default
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:300]
