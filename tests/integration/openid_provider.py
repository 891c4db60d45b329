"""A small OpenID provider on HTTPS, for tests: discovery, keys, the code flow with PKCE, device codes, refresh tokens.

Everybody who comes is the person in `claims`; it is strict about everything else.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import ipaddress
import secrets
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import jwt
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ca import keys
from ca.jwk import to_jwk


class OpenIdProvider:
    """`redirects` and `named` let a test make it misbehave."""

    def __init__(self) -> None:
        self.url = ""
        self.named = ""
        self.keys: dict[str, rsa.RSAPrivateKey] = {}
        self.fetched = 0
        self.is_down = False
        self.redirects = False
        self.audience = "pylis"
        self.claims: dict[str, Any] = {"sub": "repo:acme/shop"}
        self.seconds = 300
        self.refused: list[str] = []
        self.typed = 0  # how often a device asked before the code was typed
        self._codes: dict[str, dict[str, str]] = {}
        self._refresh: set[str] = set()
        self.rotate("k1")

    def rotate(self, kid: str) -> None:
        self.keys = {kid: rsa.generate_private_key(65537, 2048)}

    def token(self, **claims: Any) -> str:
        now = int(time.time())
        body = {"iss": self.url, "aud": self.audience, "iat": now, "exp": now + self.seconds, **self.claims}
        ((kid, key),) = self.keys.items()
        return jwt.encode({**body, **claims}, key, "RS256", {"kid": kid})

    @asynccontextmanager
    async def served(self, directory: Path) -> AsyncGenerator[None]:
        """Its certificate is its own authority: `ca.pem` in the directory."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.discovery)
        app.router.add_get("/keys", self.jwks)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/device", self._device)
        app.router.add_post("/token", self._token)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*a_certificate(directory))
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        yield
        await runner.cleanup()

    async def discovery(self, _: web.Request) -> web.Response:
        self.fetched += 1
        if self.is_down:
            return web.Response(status=503)
        if self.redirects:
            return web.Response(status=302, headers={"Location": f"{self.url}/keys"})
        about = {"issuer": self.named or self.url, "jwks_uri": f"{self.url}/keys"}
        for name, path in (
            ("authorization", "authorize"),
            ("token", "token"),
            ("device_authorization", "device"),
        ):
            about[f"{name}_endpoint"] = f"{self.url}/{path}"
        return web.json_response(about)

    async def jwks(self, _: web.Request) -> web.Response:
        found = [{**to_jwk(key.public_key()), "kid": kid, "use": "sig"} for kid, key in self.keys.items()]
        return web.json_response({"keys": found})

    async def _authorize(self, request: web.Request) -> web.Response:
        """RFC 8252 §7.3: any port of loopback."""
        asked, where = dict(request.query), urlsplit(request.query["redirect_uri"])
        if (where.scheme, where.hostname) != ("http", "127.0.0.1") or asked[
            "code_challenge_method"
        ] != "S256":
            return web.Response(status=400)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        query = urlencode({"code": code, "state": asked["state"]})
        return web.Response(status=302, headers={"Location": f"{asked['redirect_uri']}?{query}"})

    async def _device(self, request: web.Request) -> web.Response:
        code = secrets.token_urlsafe(16)
        self._codes[code] = {"client_id": str((await request.post())["client_id"])}
        answer = {"device_code": code, "user_code": "ABCD-EFGH", "verification_uri": f"{self.url}/type"}
        return web.json_response({**answer, "expires_in": 60, "interval": 0})

    async def _token(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        match form["grant_type"]:
            case "authorization_code":
                asked = self._codes.pop(form["code"], {})
                digest = hashlib.sha256(form["code_verifier"].encode()).digest()
                challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
                same = all(asked.get(name) == form[name] for name in ("client_id", "redirect_uri"))
                if not same or asked["code_challenge"] != challenge:
                    return self._no("invalid_grant")
                return self._yes(nonce=asked["nonce"])
            case "refresh_token" if form["refresh_token"] in self._refresh:
                self._refresh.discard(form["refresh_token"])
                return self._yes()
            case "urn:ietf:params:oauth:grant-type:device_code" if form["device_code"] in self._codes:
                self.typed -= 1
                if self.typed >= 0:
                    return self._no("authorization_pending")
                del self._codes[form["device_code"]]
                return self._yes()
            case _:
                return self._no("invalid_grant")

    def _yes(self, **claims: str) -> web.Response:
        refresh = secrets.token_urlsafe(16)
        self._refresh.add(refresh)
        return web.json_response(
            {"id_token": self.token(**claims), "refresh_token": refresh, "token_type": "Bearer"}
        )

    def _no(self, error: str) -> web.Response:
        self.refused.append(error)
        return web.json_response({"error": error}, status=400)


def a_certificate(directory: Path) -> tuple[Path, Path]:
    key, now = keys.new_key(), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (directory / "ca.key").write_bytes(keys.key_pem(key))
    return directory / "ca.pem", directory / "ca.key"
