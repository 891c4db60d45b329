"""A stolen identity is cut off: on connections that are open, at the control plane, and until it is lifted."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509

from controlplane.cli.client import Client, RefusedError, connect
from demo.client import Credentials, Http, ask_xds, log_line
from demo.mesh import DemoMesh

Opened = Callable[[Http], Http]
PATH = "/apis/pylis.io/v1alpha1/quarantines"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoMesh]:
    with DemoMesh(tmp_path_factory.mktemp("mesh") / "state", quiet=True) as running:
        yield running


@pytest.fixture
def api(mesh: DemoMesh) -> Client:
    return connect(mesh.kubeconfig)


@pytest.fixture
def quarantined(api: Client) -> Iterator[Callable[..., None]]:
    """Cuts off; whatever the test does, it is lifted in the end."""
    made: list[str] = []

    def cut_off(name: str, **spec: Any) -> None:
        body = {"apiVersion": "pylis.io/v1alpha1", "kind": "Quarantine", "metadata": {"name": name}}
        api.request("POST", PATH, {**body, "spec": spec})
        made.append(name)

    yield cut_off
    for name in made:
        with contextlib.suppress(RefusedError):  # lifted by the test itself
            api.request("DELETE", f"{PATH}/{name}")


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Connections that are closed after the test."""
    with contextlib.ExitStack() as stack:

        def keep(connection: Http) -> Http:
            stack.callback(connection.close)
            return connection

        yield keep


def _identity(mesh: DemoMesh, namespace: str, account: str) -> str:
    return f"spiffe://{mesh.info['trustDomain']}/ns/{namespace}/sa/{account}"


def _until(what: str, condition: Callable[[], bool], seconds: float = 20.0) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"waited {seconds} s for {what}"
        time.sleep(0.02)


def _stolen(mesh: DemoMesh, who: Credentials) -> Http:
    """Around the caller's own sidecar, straight to the other one's, with a copied certificate and key."""
    address = mesh.workload("shop/catalog")["inbound"]["http"]
    return Http(address, "catalog.shop:8080", context=who.context())


def _served(mesh: DemoMesh, who: Credentials) -> ssl.SSLSocket:
    """Raw TCP to the ledger that was answered; a quarantine of before may not be lifted everywhere yet."""
    host, _, port = mesh.workload("pay/ledger")["inbound"]["tcp"].rpartition(":")
    end = time.monotonic() + 20
    while True:
        live = who.context().wrap_socket(socket.create_connection((host, int(port)), 10))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            live.sendall(b"10 EUR\n")
            if live.recv(100):
                return live
        live.close()
        assert time.monotonic() < end, "waited 20 s to be served"
        time.sleep(0.02)


def _denied(live: Http) -> str:
    """The id of the first request that is denied."""
    end = time.monotonic() + 20
    while (
        sent := live.send("GET", "/items")
    ).actual != "deny":  # closed by the drain: asked again on a new one
        assert time.monotonic() < end, f"waited 20 s for denial: {sent}"
    return sent.request_id


def _rule(mesh: DemoMesh, workload: str, request_id: str) -> str:
    path = mesh.state_dir / "logs" / f"{workload.replace('/', '-')}.access.log"
    _until("the log line", lambda: log_line(path, request_id) is not None)
    line = log_line(path, request_id)
    assert line is not None
    return str(line["rule"])


def test_a_live_connection_is_denied_by_name_and_served_again_when_it_is_lifted(
    mesh: DemoMesh, api: Client, quarantined: Callable[..., None], opened: Opened
) -> None:
    thief = mesh.credentials("shop/frontend")
    live = opened(_stolen(mesh, thief))
    assert live.send("GET", "/items").actual == "allow"
    quarantined("stolen", spiffeIDs=[_identity(mesh, "shop", "frontend")], reason="laptop lost")
    assert _rule(mesh, "shop/catalog", _denied(live)) == "quarantine"
    api.request("DELETE", f"{PATH}/stolen")
    live.close()  # Envoy said so with the refusal
    _until("service", lambda: live.send("GET", "/items").actual == "allow")


def test_one_certificate_is_cut_off_and_another_of_the_same_identity_is_not(
    mesh: DemoMesh, quarantined: Callable[..., None], opened: Opened
) -> None:
    thief, owner = mesh.credentials("shop/frontend"), mesh.credentials("shop/frontend", ttl="50m")
    leaf = x509.load_pem_x509_certificate((thief.directory / "svid.pem").read_bytes())
    serial = f"{leaf.serial_number:X}"
    live, other = opened(_stolen(mesh, thief)), opened(_stolen(mesh, owner))
    assert (live.send("GET", "/items").actual, other.send("GET", "/items").actual) == ("allow", "allow")
    quarantined("one-leaf", serials=[serial])
    assert _rule(mesh, "shop/catalog", _denied(live)) == "quarantine"
    other.close()
    assert other.send("GET", "/items").actual == "allow"
    asked = ask_xds(mesh.xds, thief, "shop/frontend-1")
    assert (asked.actual, asked.detail) == ("refused", "PERMISSION_DENIED")


@pytest.mark.parametrize("by", ["spiffeIDs", "serials"])
def test_the_next_bytes_of_raw_tcp_that_is_open_end_it(
    mesh: DemoMesh, quarantined: Callable[..., None], by: str
) -> None:
    thief = mesh.credentials("pay/payments", ttl="30m")
    leaf = x509.load_pem_x509_certificate((thief.directory / "svid.pem").read_bytes())
    named = {"spiffeIDs": [_identity(mesh, "pay", "payments")], "serials": [f"{leaf.serial_number:x}"]}
    with _served(mesh, thief) as live, _served(mesh, mesh.credentials("pay/payments")) as owner:
        began = time.monotonic()
        quarantined(f"stolen-tcp-{by.lower()}", **{by: named[by]})
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while time.monotonic() - began < 4:  # before the drain of the listener, 5 s, would end it
                live.sendall(b"10 EUR\n")
                if not live.recv(100):
                    break
            else:
                pytest.fail("it still answers")
        print(f"raw TCP ended {1000 * (time.monotonic() - began):.0f} ms after the quarantine was asked for")
        if by == "serials":  # the same identity with another certificate goes on
            owner.sendall(b"10 EUR\n")
            assert owner.recv(100)
    path = mesh.state_dir / "logs" / "pay-ledger.access.log"
    rule = "rbac_access_denied_matched_policy[quarantine]"
    _until("the log line", lambda: rule in path.read_text())


def test_raw_tcp_that_is_open_is_ended(mesh: DemoMesh, quarantined: Callable[..., None]) -> None:
    host, _, port = mesh.workload("pay/ledger")["inbound"]["tcp"].rpartition(":")
    context = mesh.credentials("pay/payments").context()
    with _served(mesh, mesh.credentials("pay/payments")) as live:
        quarantined("stolen-tcp", spiffeIDs=[_identity(mesh, "pay", "payments")])
        began = time.monotonic()
        live.settimeout(30)
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            assert live.recv(100) == b""
        assert time.monotonic() - began < 20  # Envoy's drain of the listener: 5 s
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        context.wrap_socket(plain) as again,
        contextlib.suppress(ConnectionResetError, ssl.SSLError),
    ):
        again.sendall(b"10 EUR\n")
        assert again.recv(100) == b""


def test_its_configuration_stream_ends_and_its_agent_lets_go(
    mesh: DemoMesh, api: Client, quarantined: Callable[..., None]
) -> None:
    def state() -> str:
        items = json.loads(mesh.pylis("proxy", "status", "-o", "json"))["items"]
        return next(i["state"] for i in items if i["name"] == "other/intruder")

    def held() -> set[str]:
        status = json.loads((mesh.state_dir / "agent" / "status.json").read_text())
        return {i["registration"] for i in status["identities"]}

    _until("sync", lambda: state() == "synced")
    assert "other/intruder" in held()
    quarantined("intruder", spiffeIDs=[_identity(mesh, "other", "intruder")])
    _until("the end of its stream", lambda: state() == "lost")
    _until("its SVID to go", lambda: "other/intruder" not in held())
    api.request("DELETE", f"{PATH}/intruder")
    _until("a new SVID", lambda: "other/intruder" in held())
    _until("sync", lambda: state() == "synced", 60)


def test_nobody_calls_a_service_whose_identity_is_cut_off(
    mesh: DemoMesh, api: Client, quarantined: Callable[..., None], opened: Opened
) -> None:
    own = opened(Http(mesh.workload("shop/frontend")["httpProxy"], "catalog.shop:8080", proxy=True))
    _until("service", lambda: own.send("GET", "/items").actual == "allow", 60)
    quarantined("catalog", spiffeIDs=[_identity(mesh, "shop", "catalog")])
    _until("no endpoint", lambda: own.send("GET", "/items").status == 503)
    api.request("DELETE", f"{PATH}/catalog")
    _until("service", lambda: own.send("GET", "/items").actual == "allow", 60)
