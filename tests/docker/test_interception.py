"""Who can walk round a sidecar, who can reach an app without one, from real sockets.

row                                                        test
root with NET_RAW and the proxy's mark: a bypass           test_with_net_raw_the_sender_can_walk_round_and_the_receiver_still_refuses
root without NET_RAW, the mark: EPERM                      test_no_way_round_the_sidecar[stolen mark]
uid 1000, the mark, with NET_RAW added: EPERM              test_no_way_round_the_sidecar[stolen mark, uid 1000 …]
the proxy's uid without the mark: refused                  test_no_way_round_the_sidecar[proxy uid]
`nft delete table` by root: EPERM                          test_an_app_cannot_remove_the_rules
AF_PACKET: opens with NET_RAW only                         test_without_net_raw_there_is_no_packet_socket
no proxy settings: mTLS, the caller's URI at the app       tests/docker/test_demo.py (peer-seen)
a stranger to the app, the sidecar and closed ports        test_from_outside_nothing_is_answered_in_plain_text, …_over_ipv6
a stranger to a server-first TCP service                   test_a_tcp_service_answers_a_stranger_nothing
TLS without a certificate                                  test_tls_without_a_certificate_is_refused
another identity of the same trust domain                  tests/docker/test_demo.py (catalog-intruder)
no agent, no rules: the app does not start                 tests/docker/test_failures.py (without the agent)
a connection of before the rules                           test_a_connection_of_before_the_rules_is_reset
a call by address, a wrong port, a Host that lies          test_a_call_by_address…, test_a_host_that_lies…
HTTP/1.0                                                   test_http_1_0_is_answered
loopback, Docker's DNS, health checks                      test_dns_is_left_alone, test_health_checks…
a restart of the app, sidecar, agent or engine             tests/docker/test_failures.py
a published port                                           tests/docker/test_compose_init.py (two networks)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from demo.containers import OUTSIDE, ContainerMesh, docker
from tests.docker.waiting import address_of

SECONDS = 60.0
DIAL = """
import json, os, socket, sys
asked = json.loads(sys.argv[1])
if asked.get("uid"):
    os.setgid(asked["uid"]); os.setuid(asked["uid"])
s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.settimeout(5)
try:
    if asked.get("mark"):
        s.setsockopt(socket.SOL_SOCKET, 36, asked["mark"])
    s.connect((asked["host"], asked["port"]))
    s.sendall(b"GET /items HTTP/1.1\\r\\nHost: catalog.shop:8080\\r\\nConnection: close\\r\\n\\r\\n")
    print((s.recv(200) or b"closed").decode(errors="replace").partition("\\r\\n")[0])
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def address(mesh: ContainerMesh) -> Callable[[str], str]:
    def find(service: str) -> str:
        return address_of(mesh.container(service), f"{mesh.project}_shop")

    return find


def in_namespace(mesh: ContainerMesh, service: str, *options: str, script: str = DIAL, **asked: Any) -> str:
    """A program in the network namespace of a service, as the options let it be."""
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container(service)).strip()
    return docker(
        "run", "--rm", "--network", f"container:{mesh.container(service)}", "--entrypoint", "python3",
        "--no-healthcheck", *options, image, "-c", script, json.dumps(asked),
    ).strip()  # fmt: skip


@pytest.mark.parametrize("port", [8080, 9090, 15000, 15001, 15006, 22])
def test_from_outside_nothing_is_answered_in_plain_text(mesh: ContainerMesh, port: int) -> None:
    outcome = mesh.probe(OUTSIDE).ask(how="http", address=f"catalog.shop:{port}", method="GET", path="/items")
    assert outcome.actual == "refused"


TLS = """
import socket, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols(["pylis"])
try:
    with context.wrap_socket(socket.create_connection(("catalog.shop", 8080), 5)) as s:
        print(s.recv(200) or "closed")
except ssl.SSLError as error:
    print(error.reason)
except OSError as error:
    print(type(error).__name__)
"""


def test_tls_without_a_certificate_is_refused(mesh: ContainerMesh) -> None:
    answer = docker("exec", f"{mesh.project}-{OUTSIDE}", "python3", "-c", TLS).strip()
    assert "CERTIFICATE_REQUIRED" in answer


def test_http_1_0_is_answered(mesh: ContainerMesh) -> None:
    script = DIAL.replace("HTTP/1.1", "HTTP/1.0")
    asked = json.dumps({"host": "catalog.shop", "port": 8080})
    answer = docker("exec", mesh.container("frontend"), "python3", "-c", script, asked)
    assert answer.split()[1] == "200"


def test_a_connection_of_before_the_rules_is_reset(mesh: ContainerMesh) -> None:
    """A container without a gate is open until an agent comes: nothing of that time lives on."""
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("catalog")).strip()
    agent, name = mesh.container("agent"), f"{mesh.project}-early"
    docker("kill", agent)
    try:
        docker(
            "run", "-d", "--name", name, "--network", f"{mesh.project}_shop", "--cap-drop", "ALL", "--no-healthcheck",
            "--label", "pylis.io/inject=true", "--label", "pylis.io/namespace=other", "--label", "pylis.io/ports=http:8080",
            "--entrypoint", "python3", image, "-m", "demo.services.web", "--name", "early", "--host", "0.0.0.0", "--port", "8080",
        )  # fmt: skip

        def on_one_connection() -> str:
            asked: dict[str, Any] = {"how": "http", "address": f"{name}:8080", "method": "GET", "path": "/"}
            return mesh.probe(OUTSIDE).ask(**asked, keep="early").actual

        end = time.monotonic() + SECONDS
        while on_one_connection() != "allow":
            assert time.monotonic() < end
        assert on_one_connection() == "allow"  # the connection is open
        docker("start", agent)
        while on_one_connection() == "allow":
            assert time.monotonic() < end
            time.sleep(0.05)
        assert on_one_connection() == "refused"
    finally:
        docker("start", agent)
        docker("rm", "-f", "-v", name)


def test_a_tcp_service_answers_a_stranger_nothing(mesh: ContainerMesh) -> None:
    outcome = mesh.probe(OUTSIDE).ask(how="tcp", address="ledger.pay:7000")
    assert "booked" not in outcome.detail


def test_a_call_by_address_is_a_call_to_the_service(
    mesh: ContainerMesh, address: Callable[[str], str]
) -> None:
    """Nothing is passed through in plain text inside the mesh's networks."""
    where = f"{address('catalog')}:8080"
    outcome = mesh.probe("frontend").ask(how="http", address=where, method="GET", path="/items")
    assert outcome.actual == "allow"
    wrong = mesh.probe("frontend").ask(
        how="http", address=f"{address('catalog')}:8081", method="GET", path="/items"
    )
    assert wrong.actual in ("deny", "refused")


def test_a_host_that_lies_goes_to_whom_it_names_and_is_judged_there(mesh: ContainerMesh) -> None:
    outcome = mesh.probe("frontend").ask(
        how="http", address="orders.shop:8080", host="catalog.shop:8080", method="GET", path="/items"
    )
    assert json.loads(outcome.detail)["service"] == "catalog"


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["--user", "1000", "--cap-drop", "NET_RAW"], {}),
        (["--user", "0", "--cap-drop", "NET_RAW"], {}),
        (["--user", "0", "--cap-drop", "NET_RAW"], {"uid": 61337}),  # the proxy's uid alone opens nothing
        (["--user", "0", "--cap-drop", "NET_RAW"], {"mark": 0x50590001}),  # EPERM: the mark cannot be set
        (["--user", "1000"], {"mark": 0x50590001}),  # with Docker's own capabilities
        (["--user", "1000", "--cap-add", "NET_RAW"], {"mark": 0x50590001}),  # not in a non-root process's set
    ],
    ids=[
        "uid 1000",
        "root",
        "proxy uid",
        "stolen mark",
        "stolen mark, uid 1000",
        "stolen mark, uid 1000 with NET_RAW",
    ],
)
def test_no_way_round_the_sidecar(
    mesh: ContainerMesh, address: Callable[[str], str], options: list[str], asked: dict[str, Any]
) -> None:
    """The intruder's namespace: what is dialled goes to its sidecar, or nowhere."""
    answer = in_namespace(mesh, "intruder", *options, host=address("catalog"), port=8080, **asked)
    assert answer in (
        "HTTP/1.1 403 Forbidden",
        "ConnectionRefusedError",
        "ConnectionResetError",
        "PermissionError",
    )


def test_with_net_raw_the_sender_can_walk_round_and_the_receiver_still_refuses(
    mesh: ContainerMesh, address: Callable[[str], str]
) -> None:
    """Why NET_RAW is dropped, and why the receiver's STRICT is the boundary."""
    answer = in_namespace(
        mesh, "intruder", "--user", "0", host=address("catalog"), port=8080, mark=0x50590001
    )
    assert "200" not in answer


PACKET = """
import socket
try:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    print("opened")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(
    ("dropped", "answer"), [(["--cap-drop", "NET_RAW"], "PermissionError"), ([], "opened")]
)
def test_without_net_raw_there_is_no_packet_socket(
    mesh: ContainerMesh, dropped: list[str], answer: str
) -> None:
    """It sends past netfilter: the other reason why NET_RAW is dropped."""
    assert in_namespace(mesh, "intruder", "--user", "0", *dropped, script=PACKET) == answer


def test_an_app_cannot_remove_the_rules(mesh: ContainerMesh) -> None:
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("agent")).strip()
    gone = docker(
        "run", "--rm", "--network", f"container:{mesh.container('intruder')}", "--entrypoint", "sh", "--no-healthcheck",
        image, "-c", "nft delete table inet pylis 2>&1 || true",
    )  # fmt: skip
    assert "not permitted" in gone


def test_dns_is_left_alone(mesh: ContainerMesh) -> None:
    found = docker(
        "exec",
        mesh.container("frontend"),
        "python3",
        "-c",
        "import socket; print(socket.gethostbyname('catalog.shop'))",
    )
    assert found.strip().count(".") == 3


def test_health_checks_of_the_container_itself_are_left_alone(mesh: ContainerMesh) -> None:
    outcome = mesh.probe("catalog").ask(how="http", address="127.0.0.1:8080", method="GET", path="/anything")
    assert outcome.actual == "allow"


def test_no_service_has_net_raw(mesh: ContainerMesh) -> None:
    for service in ("catalog", "orders", "pricing", "payments", "ledger", "frontend", "intruder"):
        host = json.loads(docker("inspect", "-f", "{{json .HostConfig}}", mesh.container(service)))
        assert host["CapDrop"] == ["ALL"]
        assert host["ReadonlyRootfs"]
        sidecar = json.loads(docker("inspect", "-f", "{{json .HostConfig}}", mesh.sidecar(service)))
        assert sidecar["CapDrop"] == ["ALL"]
        assert sidecar["ReadonlyRootfs"]
        assert set(sidecar["CapAdd"]) == {"NET_RAW", "SETUID", "SETGID", "SETPCAP"}


def test_no_secret_is_in_a_sidecars_command_or_environment(mesh: ContainerMesh) -> None:
    text = docker("inspect", mesh.sidecar("catalog"))
    assert "PRIVATE KEY" not in text
    assert "pylis1." not in text


@pytest.fixture(scope="module")
def over_ipv6(mesh: ContainerMesh) -> Iterator[str]:
    """The catalog's address in an IPv6 network that it, its caller and a stranger are put into while they run."""
    network = f"{mesh.project}-ipv6"
    docker("network", "create", "--ipv6", "--subnet", "fd00:7079:6c69::/64", network)
    members = [mesh.container("catalog"), mesh.container("frontend"), f"{mesh.project}-{OUTSIDE}"]
    for member in members:
        docker("network", "connect", network, member)
    found = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", members[0]))
    yield str(found[network]["GlobalIPv6Address"])
    for member in members:
        docker("network", "disconnect", "-f", network, member)
    docker("network", "rm", network)


@pytest.mark.parametrize("port", [8080, 9090, 15000, 15001, 15006, 22])
def test_from_outside_nothing_is_answered_over_ipv6(mesh: ContainerMesh, over_ipv6: str, port: int) -> None:
    outcome = mesh.probe(OUTSIDE).ask(
        how="http", address=f"{over_ipv6}:{port}", host="catalog.shop:8080", method="GET", path="/items"
    )
    assert outcome.actual == "refused"


def test_a_network_that_is_new_is_meshed_over_ipv6_as_well(mesh: ContainerMesh, over_ipv6: str) -> None:
    end = time.monotonic() + SECONDS
    actual = ""
    while actual != "allow" and time.monotonic() < end:
        actual = (
            mesh.probe("frontend")
            .ask(
                how="http", address=f"{over_ipv6}:8080", method="GET", path="/items", host="catalog.shop:8080"
            )
            .actual
        )
        time.sleep(0.1)
    assert actual == "allow"
