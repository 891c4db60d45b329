"""`pylis doctor` on a mesh that is well, and on each thing that is really broken."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.containers import ContainerMesh, docker

ROOT = Path(__file__).parents[2]


def findings() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli", "doctor", "-o", "json"], capture_output=True, text=True, check=False,
        cwd=ROOT,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(done.stdout)["findings"]
    assert all(one["next"] for one in found if one["level"] != "ok")
    return found


def about(what: str) -> list[tuple[str, str]]:
    return [(one["level"], one["text"]) for one in findings() if one["what"] == what]


def name_of(container: str) -> str:
    return docker("inspect", "-f", "{{.Name}}", container).strip().lstrip("/")


@contextmanager
def extra(mesh: ContainerMesh, name: str, *options: str) -> Iterator[str]:
    """One more container beside the mesh, which asks to be meshed."""
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("catalog")).strip()
    full = f"{mesh.project}-{name}"
    labels = ["--label", "pylis.io/inject=true", "--label", "pylis.io/namespace=other"]
    docker(
        "run", "-d", "--name", full, "--no-healthcheck", *labels, *options, "--entrypoint", "sleep", image, "1000"
    )  # fmt: skip
    try:
        yield full
    finally:
        docker("rm", "-f", "-v", full)


def test_a_mesh_that_is_well(mesh: ContainerMesh) -> None:
    found = {one["what"]: one for one in findings()}
    assert found["engine"]["level"] == "ok"
    assert found["compose"]["level"] == "ok"
    for service in ("catalog", "orders", "frontend"):
        assert found[name_of(mesh.container(service))]["text"] == "meshed"
    assert found[name_of(mesh.container("agent"))]["text"].startswith("agent, connected")


def test_rules_that_are_gone_are_found(mesh: ContainerMesh) -> None:
    container = mesh.container("orders")
    pid = docker("inspect", "-f", "{{.State.Pid}}", container).strip()
    nft = ["nsenter", f"--net=/proc/{pid}/ns/net", "nft"]
    kept = subprocess.run(
        [*nft, "list", "table", "inet", "pylis"], capture_output=True, text=True, check=True
    )
    subprocess.run([*nft, "delete", "table", "inet", "pylis"], check=True)
    try:
        assert about(name_of(container)) == [("failed", "its network namespace has no rules: it is open")]
    finally:
        subprocess.run([*nft, "-f", "-"], input=kept.stdout, text=True, check=True)
    assert about(name_of(container)) == [("ok", "meshed")]


def test_an_agent_that_does_not_run_is_found_and_what_starts_meanwhile(mesh: ContainerMesh) -> None:
    agent = mesh.container("agent")
    name = name_of(agent)
    docker("kill", agent)
    try:
        assert [level for level, _ in about(name)] == ["failed"]
        with extra(mesh, "late", "--network", f"{mesh.project}_shop", "--cap-drop", "ALL") as late:
            assert ("failed", "has no running sidecar") in about(late)
            assert ("failed", "its network namespace has no rules: it is open") in about(late)
    finally:
        docker("start", agent)
    mesh.wait_ready()


def test_a_container_that_can_walk_round_and_one_that_finds_nobody(
    mesh: ContainerMesh, tmp_path: Path
) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 192.0.2.1\n")
    network = ["--network", f"{mesh.project}_shop"]
    with (
        extra(mesh, "loose", *network) as loose,
        extra(mesh, "lost", *network, "--cap-drop", "ALL", "-v", f"{resolv}:/etc/resolv.conf:ro") as lost,
        extra(mesh, "host", "--network", "host") as host,
    ):
        found = findings()
        texts = {what: [f["text"] for f in found if f["what"] == what] for what in (loose, lost, host)}
    assert any("NET_RAW" in text for text in texts[loose])
    assert any("DNS" in text for text in texts[lost])
    assert not any("DNS" in text for text in texts[loose])
    assert any("network mode host" in text for text in texts[host])


def test_a_sidecar_and_a_volume_that_nobody_has_any_more_are_left_over(mesh: ContainerMesh) -> None:
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("catalog")).strip()
    name, volume = f"{mesh.project}-orphan", f"{mesh.project}-gone_pylis-data"
    docker("create", "--name", name, "--label", "pylis.io/sidecar-of=gone", image)
    docker("volume", "create", volume)
    try:
        assert about(name) == [("warning", "is a sidecar whose app does not run")]
        assert [level for level, _ in about(volume)] == ["warning"]
    finally:
        docker("rm", "-f", "-v", name)
        docker("volume", "rm", volume)
