"""What container tests wait for, and where a container is found."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final

import pytest

from demo.containers import docker
from demo.mesh import DemoError

SECONDS: Final = 120.0
_LOOK_SECONDS: Final = 0.1  # engines have no event for most of what is waited for


def until(ask: Callable[[], bool], what: str) -> None:
    """A container that restarts, and an engine that does, cannot be asked: it is asked again."""
    end = time.monotonic() + SECONDS
    last = ""
    while time.monotonic() < end:
        try:
            if ask():
                return
        except (DemoError, OSError) as error:
            last = str(error)
        time.sleep(_LOOK_SECONDS)
    pytest.fail(f"not within {SECONDS:.0f} s: {what} {last}")


def address_of(container: str, network: str) -> str:
    """IPv4. Raises: DemoError."""
    found = json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Networks}}", container))
    return str(found[network]["IPAddress"])
