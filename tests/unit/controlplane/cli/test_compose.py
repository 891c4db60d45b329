"""`pylis compose` as a process, on a machine where there is no engine to ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[4]
PROJECT = """
services:
  web:
    image: web:1
    entrypoint: [serve]
    ports: ["8080:80", "9000-9001:9000-9001", "53:53/udp"]
    profiles: [front]
  db: {image: "db:1", command: run --fast, entrypoint: /db.sh, expose: [5432]}
  unknown: {image: "other:1"}
"""


def pylis(where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": str(where / "nothing"), "PYTHONPATH": str(ROOT), "HOME": str(where)}
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli", *arguments], capture_output=True, text=True, check=False, cwd=where,
        env=env, timeout=60,
    )  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    directory = tmp_path / "My_Shop"
    directory.mkdir()
    (directory / "docker-compose.yml").write_text(PROJECT)
    return directory


def test_what_can_be_known_without_an_engine_is_meshed_and_the_rest_is_named(shop: Path) -> None:
    done = pylis(shop, "compose", "init")
    assert done.returncode == 0, done.stderr
    assert "× unknown" in done.stdout
    assert "build or pull it" in done.stdout
    assert "port 80 is published" in done.stdout
    written: Any = yaml.safe_load((shop / "compose.pylis.yml").read_text())
    assert written["services"]["web"]["entrypoint"] == ["/opt/pylis/gate/pylis-gate", "serve"]
    assert written["services"]["web"]["labels"]["pylis.io/ports"] == "http:80,http:9000,tcp:9001"
    assert "profiles" not in written["services"]["web"]  # the user's own stays in force
    assert "unknown" not in written["services"]
    assert "pylis enforce SERVICE -n my-shop" in done.stdout
    assert (shop / "docker-compose.yml").read_text() == PROJECT


def test_eject_takes_its_own_file_and_no_other(shop: Path) -> None:
    pylis(shop, "compose", "init")
    assert pylis(shop, "compose", "eject").returncode == 0
    assert [one.name for one in shop.iterdir()] == ["docker-compose.yml"]
    again = pylis(shop, "compose", "eject")
    assert again.returncode != 0
    assert "it was ejected" in again.stderr


def test_a_file_of_somebody_else_is_neither_overwritten_nor_removed(shop: Path) -> None:
    (shop / "compose.pylis.yml").write_text("services: {}\n")
    for verb in ("init", "eject"):
        done = pylis(shop, "compose", verb)
        assert done.returncode != 0
        assert "is not of pylis compose init" in done.stderr
    assert (shop / "compose.pylis.yml").read_text() == "services: {}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "is no YAML"), ("web: {image: x}", "compose file version 1"), ("[1]", "has no services"), ("", "has no services")],
)  # fmt: skip
def test_what_is_no_compose_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "docker-compose.yml").write_text(text)
    done = pylis(tmp_path, "compose", "init")
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "compose.pylis.yml").exists()


def test_without_a_file_it_says_how_to_name_one(tmp_path: Path) -> None:
    assert "-f docker-compose.yml" in pylis(tmp_path, "compose", "init").stderr
