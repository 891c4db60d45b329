from __future__ import annotations

from typing import Any

import pytest
import yaml

from controlplane.docker.compose import GATE, Image, Settings, merged, override
from controlplane.resources import kinds
from policies.document import Document

SETTINGS = Settings("my_shop", "observe", "pylis:1", "pylis-agent:1")
WEB = Image(("/entry.sh",), ("serve", "$HOME"), (8080,))


def made(service: dict[str, Any], image: Image | None = WEB, **top: Any) -> Any:
    return override({"services": {"web": service}, **top}, {"web": image}, SETTINGS)


def test_the_gate_starts_what_the_image_would_have_started() -> None:
    body = made({"image": "web"}).document["services"]["web"]
    assert body["entrypoint"] == [GATE, "/entry.sh"]
    assert body["command"] == ["serve", "$$HOME"]
    assert body["cap_drop"] == ["NET_RAW"]


@pytest.mark.parametrize(
    ("service", "entrypoint", "command"),
    [
        ({"command": "run --fast 'a b'"}, [GATE, "/entry.sh"], ["run", "--fast", "a b"]),
        (
            {"entrypoint": ["/own"]},
            [GATE, "/own"],
            None,
        ),  # an entrypoint of the file's: the image's command is off
        ({"entrypoint": "/own -x", "command": ["y"]}, [GATE, "/own", "-x"], ["y"]),
        ({"command": ["echo", "$$HOME", "${TAG}"]}, [GATE, "/entry.sh"], ["echo", "$$HOME", "${TAG}"]),
    ],
)
def test_what_the_file_says_goes_first(
    service: dict[str, Any], entrypoint: list[str], command: list[str] | None
) -> None:
    body = made({"image": "web", **service}).document["services"]["web"]
    assert body["entrypoint"] == entrypoint
    assert body.get("command") == command


@pytest.mark.parametrize(
    ("service", "image"),
    [
        ({"image": "web", "network_mode": "host"}, WEB),
        ({"image": "web"}, None),
        ({"network_mode": "service:db"}, WEB),
    ],
)
def test_what_cannot_be_meshed_is_left_out_with_a_reason(
    service: dict[str, Any], image: Image | None
) -> None:
    found = made(service, image)
    assert found.meshed == ()
    assert found.left_out[0][1]


def test_ports_of_every_form() -> None:
    ports = [
        "80",
        "8080:8081/tcp",
        "127.0.0.1:9000-9001:5432-5433",
        "53:53/udp",
        {"target": 7000, "published": 7},
    ]
    [one] = made({"image": "web", "ports": ports, "expose": ["6379"]}, Image(("/x",), (), ())).meshed
    assert one.published == (80, 5432, 5433, 7000, 8081)
    assert "tcp:5432" in one.ports
    assert "tcp:6379" in one.ports
    assert "http:8081" in one.ports


def test_nothing_is_set_that_is_the_users() -> None:
    """What compose would replace rather than merge, and what names, ports and networks are, is not in it."""
    body = made({"image": "web", "ports": ["80:80"], "networks": ["front"]}).document["services"]["web"]
    assert set(body) == {"labels", "cap_drop", "volumes", "depends_on", "entrypoint", "command"}


def test_the_versions_of_the_files_agree() -> None:
    assert made({"image": "web"}, version="3.8").document["version"] == "3.8"
    assert "version" not in made({"image": "web"}).document


def test_a_published_port_takes_plain_callers_and_nothing_else_does() -> None:
    document = made({"image": "web", "ports": ["80:80"]}).document
    text = document["services"]["pylis-policies"]["entrypoint"][-1]
    documents = list(yaml.safe_load_all(text))
    for one in documents:
        _, problems = kinds.parse(Document(one))
        assert not problems
    assert documents[0]["spec"]["mtls"] == {"mode": "STRICT"}
    assert documents[1]["spec"]["portLevelMtls"] == {"80": {"mode": "PERMISSIVE"}}


def test_later_files_change_earlier_ones() -> None:
    first: dict[str, Any] = {"services": {"web": {"image": "a", "ports": ["80"]}}, "version": "3"}
    assert merged([first, {"services": {"web": {"image": "b"}, "db": {"image": "c"}}}])["services"] == {
        "web": {"image": "b", "ports": ["80"]}, "db": {"image": "c"},
    }  # fmt: skip


def test_each_project_is_a_mesh_of_its_own() -> None:
    services = made({"image": "web"}).document["services"]
    assert services["web"]["labels"]["pylis.io/mesh"] == "my-shop"
    assert "--mesh=my-shop" in services["pylis-agent"]["command"]


def test_the_agent_may_register_in_the_projects_namespace_only() -> None:
    command = made({"image": "web"}).document["services"]["pylis-control-plane"]["command"]
    assert "--container-agent=docker=my-shop" in command
