"""What `pylis doctor` says of the containers of an engine. Pure: what was asked of the engine is an argument.

Each finding that is not well ends with the next command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

INJECT: Final = "pylis.io/inject"
SIDECAR_OF: Final = "pylis.io/sidecar-of"
STARTED: Final = "pylis.io/app-started"
_LOGS: Final = "docker compose logs agent"


class Level(StrEnum):
    WELL = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """`next` is a command, "" when all is well."""

    level: Level
    what: str
    text: str
    next: str = ""


def containers(
    inspected: Iterable[Mapping[str, Any]], rules: Mapping[str, bool | None], image: str
) -> Iterator[Finding]:
    """`inspected`: labelled containers and sidecars, in whatever state. `rules`: by the app's id; None: not seen.

    `image`: the sidecar's as it should be.
    """
    found = list(inspected)
    sidecars = {_labels(one)[SIDECAR_OF]: one for one in found if SIDECAR_OF in _labels(one)}
    apps = {
        str(one["Id"]): one
        for one in found
        if _labels(one).get(INJECT) == "true" and SIDECAR_OF not in _labels(one) and one["State"]["Running"]
    }
    for id_, app in apps.items():
        yield from _app(app, sidecars.get(id_), rules.get(id_), image)
    for app, sidecar in sidecars.items():
        if app not in apps:
            name = _name(sidecar)
            text = "is a sidecar whose app does not run"
            yield Finding(Level.WARNING, name, text, f"docker rm -f -v {name}")


def _app(
    app: Mapping[str, Any], sidecar: Mapping[str, Any] | None, rules: bool | None, image: str
) -> Iterator[Finding]:
    name, mode = _name(app), str(app["HostConfig"]["NetworkMode"])
    if mode == "host" or mode.startswith("container:"):
        text = f"network mode {mode}: it has no network namespace of its own and cannot be meshed"
        yield Finding(Level.FAILED, name, text, f"give it a network, or remove its label {INJECT}")
        return
    wrong = False
    if sidecar is None or not sidecar["State"]["Running"]:
        wrong = True
        yield Finding(Level.FAILED, name, "has no running sidecar", f"{_LOGS}   (does the agent run?)")
    elif _labels(sidecar).get(STARTED) != app["State"]["StartedAt"]:
        wrong = True
        yield Finding(Level.FAILED, name, "its sidecar is in the namespace of an earlier life", _LOGS)
    elif image and sidecar["Config"]["Image"] != image:
        text = f"its sidecar is {sidecar['Config']['Image']}, tested is {image}"
        yield Finding(Level.WARNING, name, text, "start the agent with --image " + image)
    if rules is False:
        wrong = True
        yield Finding(Level.FAILED, name, "its network namespace has no rules: it is open", _LOGS)
    if not _drops_net_raw(app):
        wrong = True
        text = "keeps NET_RAW: a process of root in it can walk round its sidecar"
        yield Finding(Level.WARNING, name, text, "cap_drop: [NET_RAW]   (pylis compose init writes it)")
    if not wrong:
        seen = "" if rules else " (its rules were not looked at: that needs root on the engine's machine)"
        yield Finding(Level.WELL, name, f"meshed{seen}")


def _drops_net_raw(app: Mapping[str, Any]) -> bool:
    host = app["HostConfig"]
    if host.get("Privileged"):
        return False
    dropped = {str(one).upper().removeprefix("CAP_") for one in host.get("CapDrop") or ()}
    added = {str(one).upper().removeprefix("CAP_") for one in host.get("CapAdd") or ()}
    return bool(dropped & {"ALL", "NET_RAW"}) and not added & {"ALL", "NET_RAW"}


def _labels(one: Mapping[str, Any]) -> Mapping[str, str]:
    return one["Config"].get("Labels") or {}


def _name(one: Mapping[str, Any]) -> str:
    return str(one["Name"]).lstrip("/")
