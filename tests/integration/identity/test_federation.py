"""Two control planes that federate: bundles fetched in both profiles, kept, and refused where they must be."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ca import keys
from ca.bundle import TrustBundle
from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import SpiffeId, TrustDomain
from controlplane.federation.fetch import FetchError, fetch_spiffe, fetch_web

Plane = Any
PARTNER = TrustDomain.parse("partner.org")
ENDPOINT = SpiffeId.parse("spiffe://partner.org/pylis/server")


class Endpoint:
    """A bundle endpoint that answers as told: path → status, headers, body."""

    def __init__(self, directory: Path) -> None:
        self.authority = CertificateAuthority.open(PARTNER, MemoryKeystore())
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        key = keys.new_key()
        svid = self.authority.issue_server(keys.csr_for(key), [], ["127.0.0.1"])
        (directory / "chain.pem").write_text(svid.chain_pem)
        (directory / "key.pem").write_bytes(keys.key_pem(key))
        (directory / "roots.pem").write_text(self.authority.bundle.to_pem())
        self.roots = directory / "roots.pem"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(directory / "chain.pem", directory / "key.pem")
        answers = self.answers

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = answers[self.path]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that refuses our certificate is what is tested

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        self.serve("/bundle", self.authority.bundle)

    def serve(self, path: str, bundle: TrustBundle) -> None:
        body = json.dumps(bundle.to_spiffe()).encode()
        self.answers[path] = (200, {"Content-Type": "application/json"}, body)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    one = Endpoint(tmp_path)
    yield one
    one.stop()


@pytest.fixture
def web_roots(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own list of authorities, for this test: what an administrator would install."""
    monkeypatch.setenv("SSL_CERT_FILE", str(endpoint.roots))


@pytest.mark.spiffe("F-08", "F-19", "F-22", "F-15")
@pytest.mark.usefixtures("web_roots")
async def test_https_web_is_believed_by_the_machines_authorities(endpoint: Endpoint) -> None:
    found = await fetch_web(f"{endpoint.url}/bundle", PARTNER)
    assert found == endpoint.authority.bundle
    by_another_name = endpoint.url.replace("127.0.0.1", "localhost.localdomain")
    with pytest.raises(FetchError):
        await fetch_web(f"{by_another_name}/bundle", PARTNER)


@pytest.mark.spiffe("F-22")
async def test_https_web_with_an_unknown_authority_is_refused(endpoint: Endpoint) -> None:
    with pytest.raises(FetchError, match="could not prove who it is"):
        await fetch_web(f"{endpoint.url}/bundle", PARTNER)


@pytest.mark.spiffe("F-08", "F-30", "F-34", "F-35")
async def test_https_spiffe_is_believed_by_the_endpoints_svid(endpoint: Endpoint) -> None:
    bundle = endpoint.authority.bundle
    assert await fetch_spiffe(f"{endpoint.url}/bundle", PARTNER, ENDPOINT, bundle) == bundle
    another = SpiffeId.parse("spiffe://partner.org/other")
    with pytest.raises(FetchError, match=r"not spiffe://partner\.org/other"):
        await fetch_spiffe(f"{endpoint.url}/bundle", PARTNER, another, bundle)
    stranger = CertificateAuthority.open(PARTNER, MemoryKeystore()).bundle
    with pytest.raises(FetchError, match="could not prove"):
        await fetch_spiffe(f"{endpoint.url}/bundle", PARTNER, ENDPOINT, stranger)
    with pytest.raises(FetchError, match="empty"):
        await fetch_spiffe(f"{endpoint.url}/bundle", PARTNER, ENDPOINT, TrustBundle(PARTNER, ()))


@pytest.mark.spiffe("F-21", "F-24", "F-25", "F-33", "F-37")
async def test_redirects_are_followed_and_checked_like_the_first_address(endpoint: Endpoint) -> None:
    bundle = endpoint.authority.bundle

    async def fetched(path: str) -> TrustBundle:
        return await fetch_spiffe(endpoint.url + path, PARTNER, ENDPOINT, bundle)

    endpoint.answers["/old"] = (302, {"Location": "/bundle"}, b"")
    assert await fetched("/old") == bundle
    endpoint.answers["/plain"] = (302, {"Location": endpoint.url.replace("https", "http") + "/bundle"}, b"")
    with pytest.raises(FetchError, match="is not https"):
        await fetched("/plain")
    endpoint.answers["/user"] = (302, {"Location": endpoint.url.replace("//", "//user@") + "/bundle"}, b"")
    with pytest.raises(FetchError, match="user's name"):
        await fetched("/user")
    endpoint.answers["/round"] = (302, {"Location": "/round"}, b"")
    with pytest.raises(FetchError, match="redirects"):
        await fetched("/round")


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b" " * (1024 * 1024 + 1)])
async def test_what_is_no_bundle_is_refused(endpoint: Endpoint, body: bytes) -> None:
    endpoint.answers["/odd"] = (200, {}, body)
    with pytest.raises(FetchError, match="no trust bundle"):
        await fetch_spiffe(f"{endpoint.url}/odd", PARTNER, ENDPOINT, endpoint.authority.bundle)
    endpoint.answers["/gone"] = (404, {}, b"")
    with pytest.raises(FetchError, match="status 404"):
        await fetch_spiffe(f"{endpoint.url}/gone", PARTNER, ENDPOINT, endpoint.authority.bundle)


def declared(url: str, bundle: dict[str, Any]) -> dict[str, Any]:
    profile = {"type": "https_spiffe", "endpointSPIFFEID": str(ENDPOINT)}
    return {
        "apiVersion": "pylis.io/v1alpha1",
        "kind": "FederatedTrustDomain",
        "metadata": {"name": "partner"},
        "spec": {
            "trustDomain": "partner.org",
            "bundleEndpointURL": url,
            "bundleEndpointProfile": profile,
            "trustDomainBundle": json.dumps(bundle),
        },
    }


@pytest.mark.spiffe("F-03", "F-05", "F-06", "F-35", "B-03", "B-06")
def test_two_meshes_follow_each_others_rotation(new_control_plane: Callable[..., Plane]) -> None:
    """Pylis to Pylis; the consumer keeps the last good bundle while the other is away, and over a restart."""
    there = new_control_plane("--trust-domain", "partner.org", name="there")
    here = new_control_plane(name="here")
    document = json.loads(there.run("bundle", "show", "--format", "spiffe").stdout)
    here.apply(declared(f"{there.api}/.well-known/spiffe/bundle", document))

    def state() -> dict[str, Any]:
        (one,) = here.json("federation", "list")["items"]
        return one

    here.until(lambda: state()["fetched"], f"it was never fetched: {state()}", seconds=15)
    assert (state()["x509Authorities"], state()["error"]) == (1, None)
    for step in (("prepare",), ("activate",), ("taint",), ("revoke",)):
        assert there.run("ca", *step).returncode == 0
        assert here.run("federation", "refresh", "partner.org").returncode == 0
        sequence = there.json("ca", "status")["sequence"]
        here.until(lambda wanted=sequence: state()["sequence"] == wanted, f"{step} was not followed")
    there.stop()
    here.run("federation", "refresh", "partner.org")
    here.until(lambda: state()["error"])
    assert state()["sequence"] == sequence
    here.process.terminate()
    here.process.communicate(timeout=60)
    here.start()
    assert state()["sequence"] == sequence
    assert here.run("federation", "refresh", "nobody.org").returncode == 1
