"""This process as the caller of a real socket; that it is a container's is what the caller was found to be."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.caller import Caller, caller_of
from agent.docker.attestation import SidecarAttestation

APPS = {"a1": frozenset({"docker:compose:service:web"})}


@pytest.fixture
def own(short_dir: Path) -> Iterator[Caller]:
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(str(short_dir / "s"))
        listener.listen()
        client.connect(str(short_dir / "s"))
        server, _ = listener.accept()
        with server:
            caller = caller_of(server)
            yield caller
            caller.close()


def attestation() -> SidecarAttestation:
    return SidecarAttestation(lambda: (), lambda container: APPS.get(container, frozenset()))


async def test_a_process_of_no_container_is_only_what_the_kernel_says(own: Caller) -> None:
    found = await attestation().selectors(own)
    assert f"unix:uid:{os.getuid()}" in found
    assert not any(one.startswith("docker:") for one in found)


async def test_a_sidecar_stands_for_its_app(own: Caller) -> None:
    own.container = ("a1", frozenset())
    assert "docker:compose:service:web" in await attestation().selectors(own)


async def test_a_container_that_this_agent_does_not_mesh_stands_for_nobody(own: Caller) -> None:
    own.container = ("b2", frozenset())
    assert not any(one.startswith("docker:") for one in await attestation().selectors(own))


async def test_a_caller_that_is_gone_is_nobody_even_of_a_meshed_container(own: Caller) -> None:
    own.container = ("a1", frozenset())
    own.close()
    assert await attestation().selectors(own) == frozenset()
