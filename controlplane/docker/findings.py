"""What `pylis doctor` says of the containers of an engine. Pure: what was asked of the engine is an argument.

Each finding that is not well ends with the next command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ca.profile import LEAF_BACKDATE

INJECT: Final = "pylis.io/inject"
SIDECAR_OF: Final = "pylis.io/sidecar-of"
STARTED: Final = "pylis.io/app-started"
ROLE: Final = "pylis.io/role"  # of the agent's image
NOTICEABLE_SECONDS: Final = 5.0
_VOLUME: Final = re.compile(r".*_pylis-(data|join|run|gate|agent)")
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


@dataclass(frozen=True, slots=True)
class Inside:
    """What was seen in a container's network namespace; None: it was not looked at. `names`: does its DNS know its own?"""

    rules: bool | None = None
    names: bool | None = None


_NOT_SEEN: Final = Inside()


def clock(what: str, behind: float) -> Finding:
    """`behind`: seconds that a clock is slow, against the control plane's; negative: fast."""
    if abs(behind) <= NOTICEABLE_SECONDS:
        return Finding(
            Level.WELL, f"clock of {what}", f"within {NOTICEABLE_SECONDS:.0f} s of the control plane's"
        )
    how, limit = "slow" if behind > 0 else "fast", LEAF_BACKDATE.total_seconds()
    text = (
        f"{abs(behind):.0f} s {how} against the control plane: beyond {limit:.0f} s certificates are refused"
    )
    level = Level.FAILED if abs(behind) > limit else Level.WARNING
    return Finding(level, f"clock of {what}", text, "timedatectl set-ntp true")


def agents(
    inspected: Iterable[Mapping[str, Any]], statuses: Mapping[str, Mapping[str, Any] | None], version: str
) -> Iterator[Finding]:
    """`statuses`: by container, what `pylis docker status` says; None: nothing. `version`: the control plane's, or ""."""
    for one in inspected:
        name, status = _name(one), statuses.get(str(one["Id"]))
        if not one["State"]["Running"]:
            text = (
                "does not run: what starts now is not meshed, and what restarts behind its gate stays closed"
            )
            yield Finding(Level.FAILED, name, text, f"docker start {name}")
        elif status is None:
            yield Finding(Level.FAILED, name, "has not joined the control plane", f"docker logs {name}")
        else:
            yield from _agent(name, status, version)


def _agent(name: str, status: Mapping[str, Any], version: str) -> Iterator[Finding]:
    wrong = [f"{key}: {status[key]}" for key in ("engine", "error") if status.get(key)]
    wrong += [] if status.get("connected") else ["not connected to the control plane"]
    for text in wrong:
        yield Finding(Level.FAILED, name, text, f"docker logs {name}")
    own = str(status.get("version", ""))
    if own and version and own != version:
        text = f"is version {own}, the control plane {version}"
        yield Finding(
            Level.WARNING, name, text, "docker compose up -d --build   (or pull: one version for both)"
        )
    if status.get("clockBehind"):
        yield clock(name, float(status["clockBehind"]))
    for one in status.get("notTaken", ()):
        yield Finding(
            Level.FAILED, str(one["workload"]), f"is not registered: {one['reason']}", f"docker logs {name}"
        )
    if not wrong:
        yield Finding(Level.WELL, name, f"agent, connected, {len(status.get('containers', ()))} containers")


def volumes(unused: Iterable[str]) -> Iterator[Finding]:
    """`unused`: names of volumes that no container has, running or not."""
    for name in unused:
        if _VOLUME.fullmatch(name):
            text = "no container has this volume of a mesh: its project is down, or was taken out"
            yield Finding(Level.WARNING, name, text, f"docker volume rm {name}   (if it does not come back)")


def containers(
    inspected: Iterable[Mapping[str, Any]], seen: Mapping[str, Inside], image: str
) -> Iterator[Finding]:
    """`inspected`: labelled containers and sidecars, in whatever state. `seen`: by the app's id.

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
        yield from _app(app, sidecars.get(id_), seen.get(id_, _NOT_SEEN), image)
    for app, sidecar in sidecars.items():
        if app not in apps:
            name = _name(sidecar)
            text = "is a sidecar whose app does not run"
            yield Finding(Level.WARNING, name, text, f"docker rm -f -v {name}")


def _app(
    app: Mapping[str, Any], sidecar: Mapping[str, Any] | None, inside: Inside, image: str
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
    if inside.rules is False:
        wrong = True
        text = "its network namespace has no rules: it is open"
        yield Finding(Level.FAILED, name, text, f"docker restart {name}   (and {_LOGS})")
    if inside.names is False:
        wrong = True
        text = "its DNS does not know the names of its network: it finds nobody"
        own = f"docker exec {name} cat /etc/resolv.conf   (Docker's own is nameserver 127.0.0.11)"
        yield Finding(Level.FAILED, name, text, own)
    if not _drops_net_raw(app):
        wrong = True
        text = "keeps NET_RAW: a process of root in it can walk round its sidecar"
        yield Finding(Level.WARNING, name, text, "cap_drop: [NET_RAW]   (pylis compose init writes it)")
    if not wrong:
        seen = (
            "" if inside.rules else " (its rules were not looked at: that needs root on the engine's machine)"
        )
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
