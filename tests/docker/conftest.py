"""On a real engine, as root: `make test-docker`. Not part of `make test`, whose last lines say so."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from demo.containers import ContainerMesh, compose_command, docker

WANTED = os.environ.get("PYLIS_TEST_DOCKER") == "1"
PROJECT = "pylis-test"
collect_ignore_glob: list[str] = [] if WANTED else ["test_*.py"]


def left_behind() -> dict[str, str]:
    """What a run must leave as it found it."""
    return {
        "containers": docker("ps", "-aq", "--filter", "name=pylis-"),
        "networks": docker("network", "ls", "-q", "--filter", f"name={PROJECT}"),
        "volumes": docker("volume", "ls", "-q", "--filter", f"name={PROJECT}"),
    }


def images() -> dict[str, str]:
    return {
        "PYLIS_IMAGE": os.environ.get("PYLIS_IMAGE", "pylis:latest"),
        "PYLIS_AGENT_IMAGE": os.environ.get("PYLIS_AGENT_IMAGE", "pylis-agent:latest"),
    }


@pytest.fixture(scope="session")
def mesh() -> Iterator[ContainerMesh]:
    before = left_behind()
    compose = os.environ.get("PYLIS_COMPOSE", "").split() or compose_command()
    with ContainerMesh(PROJECT, build=False, compose=compose, environment=images()) as running:
        yield running
    assert left_behind() == before
