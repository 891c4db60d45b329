"""People log in by an OpenID provider: in a browser, by a code, by kubectl; and what their token is worth at the API."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.integration.openid_provider import OpenIdProvider
from tests.integration.running_server import RunningServer
from tests.integration.test_api_life import Api

PYLIS = str(Path(sys.executable).with_name("pylis"))
POLICIES = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies"


@dataclass
class Mesh:
    server: RunningServer
    provider: OpenIdProvider
    directory: Path

    def pylis(self, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PYLIS, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self.environment(home),
        )

    def environment(self, home: Path) -> dict[str, str]:
        return {"HOME": str(home), "PATH": os.environ["PATH"]}

    @property
    def where(self) -> tuple[str, ...]:
        return ("--server", f"https://{self.server.api}", "--ca-file", str(self.directory / "mesh.pem"))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    directory = tmp_path_factory.mktemp("login")
    provider = OpenIdProvider()
    provider.claims = {"sub": "1", "email": "ann@example.com", "groups": ["shop-team"], "hd": "example.com"}
    up, loop = threading.Event(), asyncio.new_event_loop()
    down = asyncio.Event()

    async def serve() -> None:
        async with provider.served(directory):
            up.set()
            await down.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert up.wait(30)
    issuer = {
        "issuer": provider.url, "audience": "pylis", "username": {"claim": "email"},
        "require": {"hd": ["example.com"]}, "ca": "ca.pem",
    }  # fmt: skip
    (directory / "people.yaml").write_text(json.dumps({"issuers": [issuer]}))
    with RunningServer(directory, "--oidc", str(directory / "people.yaml")) as server:
        (directory / "mesh.pem").write_text(server.ca_pem)
        admin = Api(server, server.token)
        assert admin("POST", "/api/v1/namespaces", {"metadata": {"name": "shop"}}).status == 201
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "editor"}
        team = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "oidc:shop-team"}
        binding = {"metadata": {"name": "team"}, "roleRef": role, "subjects": [team]}
        path = "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings"
        assert admin("POST", path, binding).status == 201
        yield Mesh(server, provider, directory)
    loop.call_soon_threadsafe(down.set)
    thread.join(30)
    loop.close()


def a_policy(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": name},
        "spec": {},
    }


def test_a_token_is_worth_the_roles_of_its_groups(mesh: Mesh) -> None:
    ann = Api(mesh.server, mesh.provider.token())
    assert ann("POST", POLICIES, a_policy("anns")).status == 201
    forbidden = ann("GET", "/api/v1/namespaces/shop/secrets")
    assert forbidden.status == 403
    assert 'User "oidc:ann@example.com" cannot list secrets in the namespace "shop"' in forbidden.message
    record = Api(mesh.server, mesh.server.token)("GET", "/pylis/v1/audit?after=-20").body["items"]
    assert any(r["who"] == "oidc:ann@example.com" and r["name"] == "anns" for r in record)


def test_tokens_that_are_not_good_are_nobodys(mesh: Mesh) -> None:
    provider, now = mesh.provider, int(time.time())
    stranger = OpenIdProvider()
    stranger.url, stranger.claims = provider.url, provider.claims
    for bad in (
        stranger.token(),
        provider.token(aud="other"),
        provider.token(aud=["pylis", "other"], azp="other"),
        provider.token(iss="https://evil.example"),
        provider.token(exp=now - 120),
        provider.token(hd="evil.example"),
        provider.token(email=None),
        provider.token(email_verified=False),
        provider.token(email="ann@example.com\nadmin"),
        jwt.encode(
            {"iss": provider.url, "aud": "pylis", "exp": now + 60, **provider.claims}, "k" * 32, "HS256"
        ),
    ):
        assert Api(mesh.server, bad)("GET", POLICIES).status == 401
    for claims in (
        {"groups": ["pylis:admins"]},
        {"email": "admin", "groups": []},
        {"groups": "system:masters"},
    ):
        assert Api(mesh.server, provider.token(**claims))("GET", POLICIES).status == 403, claims


def test_a_browser_brings_a_login_that_pylis_and_kubectl_use(mesh: Mesh, tmp_path: Path) -> None:
    command = [PYLIS, "login", *mesh.where, "--no-browser"]
    asking = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=mesh.environment(tmp_path)
    )
    assert asking.stderr is not None
    asking.stderr.readline()
    page = asking.stderr.readline().strip()
    redirect = re.search(r"redirect_uri=http%3A%2F%2F127.0.0.1%3A(\d+)%2Fcallback", page)
    assert redirect is not None
    forged = f"http://127.0.0.1:{redirect[1]}/callback?code=stolen&state=guessed"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(forged, timeout=20)
    context = ssl.create_default_context(cafile=str(mesh.directory / "ca.pem"))
    assert urllib.request.urlopen(page, timeout=20, context=context).read() == b"You can close this page."
    out, said = asking.communicate(timeout=60)
    assert (asking.returncode, out) == (0, "logged in as oidc:ann@example.com (groups: oidc:shop-team)\n"), (
        said
    )
    kept = tmp_path / ".config" / "pylis"
    assert {f.stat().st_mode & 0o777 for f in kept.iterdir()} == {0o600}
    assert kept.stat().st_mode & 0o077 == 0
    kubeconfig = kept / "kubeconfig"
    assert "eyJ" not in kubeconfig.read_text(), "the token is not in the kubeconfig"
    shown = mesh.pylis(tmp_path, "get", "ap", "-n", "shop", "--kubeconfig", str(kubeconfig))
    assert shown.returncode == 0, shown.stderr
    if (kubectl := shutil.which("kubectl")) is not None:
        command = [kubectl, "--kubeconfig", str(kubeconfig), "auth", "can-i", "create", "ap", "-n", "shop"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=mesh.environment(tmp_path)
        )
        assert done.stdout == "yes\n", done.stderr


def test_a_code_typed_elsewhere_and_tokens_that_are_renewed(mesh: Mesh, tmp_path: Path) -> None:
    mesh.provider.typed, mesh.provider.seconds = 1, 20
    kubeconfig = tmp_path / "kubeconfig"
    try:
        done = mesh.pylis(tmp_path, "login", *mesh.where, "--device", "--out", str(kubeconfig))
        assert done.returncode == 0, done.stderr
        assert "code  ABCD-EFGH" in done.stderr
        assert "authorization_pending" in mesh.provider.refused
        (cache,) = (tmp_path / ".config" / "pylis").glob("login-*.json")
        first = json.loads(cache.read_text())
        mesh.provider.seconds = 300
        credential = json.loads(mesh.pylis(tmp_path, "login", "--credential", str(cache)).stdout)
        assert credential["kind"] == "ExecCredential"
        second = json.loads(cache.read_text())
        assert credential["status"]["token"] == second["idToken"] != first["idToken"]
        assert second["refreshToken"] != first["refreshToken"]
        assert (
            mesh.pylis(tmp_path, "get", "ap", "-n", "shop", "--kubeconfig", str(kubeconfig)).returncode == 0
        )
        cache.write_text(json.dumps({**first, "expires": 0}))  # its refresh token was used
        late = mesh.pylis(tmp_path, "get", "ap", "-n", "shop", "--kubeconfig", str(kubeconfig))
        assert (late.returncode, "cannot be renewed" in late.stderr) == (3, True)
        cache.chmod(0o644)
        open_ = mesh.pylis(tmp_path, "login", "--credential", str(cache))
        assert (open_.returncode, "can be read by others" in open_.stderr) == (2, True)
    finally:
        mesh.provider.seconds = 300


def test_a_server_without_providers_says_how_to_get_one(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        done = subprocess.run(
            [PYLIS, "login", "--kubeconfig", str(server.kubeconfig)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, "trusts no OpenID provider" in done.stderr, "--oidc" in done.stderr) == (
        3,
        True,
        True,
    )
