"""What a Docker engine says of a container → selectors, in SPIRE's words. Pure: its JSON is an argument.

    docker:label:KEY:VALUE     docker:env:NAME=VALUE         docker:compose:project:P   docker:compose:service:S
    docker:image:NAME:TAG      docker:image_id:sha256:…      docker:image_digest:NAME@sha256:…

Whoever may start containers chooses labels and environment, so they are worth what access to the engine is;
the image's ID and digest say what runs.
Source: Docker Engine API, /containers/ID/json and /images/ID/json
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

_COMPOSE: Final = {
    "com.docker.compose.project": "project",
    "com.docker.compose.service": "service",
}
MAX_SELECTORS: Final = 4096


def selectors(container: Any, image: Any) -> frozenset[str]:
    """Of `/containers/ID/json` and `/images/ID/json`; what is missing or of another form is passed over."""
    config = _object(_object(container).get("Config"))
    found: list[str] = []
    for key, value in _object(config.get("Labels")).items():
        if isinstance(value, str):
            found.append(f"docker:label:{key}:{value}")
            if key in _COMPOSE:
                found.append(f"docker:compose:{_COMPOSE[key]}:{value}")
    found += [f"docker:env:{one}" for one in _texts(config.get("Env"))]
    found += [f"docker:image:{one}" for one in _texts([config.get("Image")])]
    found += [f"docker:image_id:{one}" for one in _texts([_object(container).get("Image")])]
    found += [f"docker:image_digest:{one}" for one in _texts(_object(image).get("RepoDigests"))]
    return frozenset(found[:MAX_SELECTORS])


def image_id(container: Any) -> str:
    value = _object(container).get("Image")
    return value if isinstance(value, str) else ""


def first_process(container: Any) -> int:
    """Its pid on the host; 0 when it does not run."""
    state = _object(_object(container).get("State"))
    pid = state.get("Pid")
    running = state.get("Running") is True and isinstance(pid, int)
    return cast("int", pid) if running else 0


def _object(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    items = cast("list[Any]", value) if isinstance(value, list) else []
    return [item for item in items if isinstance(item, str) and item]
