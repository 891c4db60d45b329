"""Who can walk round a sidecar, who can reach an app without one: each line of the interception table."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from demo.containers import OUTSIDE, ContainerMesh, docker

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
        networks = json.loads(
            docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", mesh.container(service))
        )
        return str(networks[f"{mesh.project}_shop"]["IPAddress"])

    return find


def in_namespace(mesh: ContainerMesh, service: str, *options: str, **asked: Any) -> str:
    """A program in the network namespace of a service, as the options let it be."""
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container(service)).strip()
    return docker(
        "run", "--rm", "--network", f"container:{mesh.container(service)}", "--entrypoint", "python3",
        "--no-healthcheck", *options, image, "-c", DIAL, json.dumps(asked),
    ).strip()  # fmt: skip


@pytest.mark.parametrize("port", [8080, 9090, 15000, 15001, 15006, 22])
def test_from_outside_nothing_is_answered_in_plain_text(mesh: ContainerMesh, port: int) -> None:
    outcome = mesh.probe(OUTSIDE).ask(how="http", address=f"catalog.shop:{port}", method="GET", path="/items")
    assert outcome.actual == "refused"


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
        (["--user", "1000", "--cap-add", "NET_RAW"], {"mark": 0x50590001}),  # not in a non-root process's set
    ],
    ids=["uid 1000", "root", "proxy uid", "stolen mark", "stolen mark, uid 1000"],
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
