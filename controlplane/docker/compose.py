"""A compose project → an override that meshes it: labels, no NET_RAW, a gate, and control plane and agent. Pure.

Nothing of the user's files is changed, and nothing in them is set again that is already right: names, aliases,
networks, ports, health checks and replicas stay as they are. The override is one file; without it the project is
what it was.

    left out                    because
    network_mode host/none/…    it has no network namespace of its own
    no image, unknown command   the gate has to know what to start
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

FILE: Final = "compose.pylis.yml"
GATE: Final = "/opt/pylis/gate/pylis-gate"
MARK: Final = "# written by pylis compose init"
_HTTP: Final = frozenset({80, 3000, 4000, 5000, 8000, 8008, 8080, 8081, 8888, 9000})
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Image:
    """What an image says of itself; `ports` are TCP ports it exposes."""

    entrypoint: tuple[str, ...]
    command: tuple[str, ...]
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """`project`: compose's own name for it. `mode`: observe or enforce."""

    project: str
    mode: str
    image: str
    agent_image: str


@dataclass(frozen=True, slots=True)
class Meshed:
    """One service of the override; `published`: its ports that the machine's outside can reach."""

    service: str
    ports: tuple[str, ...]
    published: tuple[int, ...]
    override: Json


@dataclass(frozen=True, slots=True)
class Override:
    document: Json
    meshed: tuple[Meshed, ...]
    left_out: tuple[tuple[str, str], ...]


def merged(files: list[Json]) -> Json:
    """As far as it matters here: services of later files change those of earlier ones, field by field."""
    services: dict[str, Json] = {}
    for file in files:
        for name, service in _object(file.get("services")).items():
            services[name] = {**services.get(name, {}), **_object(service)}
    return {**(files[0] if files else {}), "services": services}


def override(project: Json, images: Mapping[str, Image | None], settings: Settings) -> Override:
    """`images`: by service; None where it is not known."""
    meshed: list[Meshed] = []
    left_out: list[tuple[str, str]] = []
    for name, service in _object(project.get("services")).items():
        found = _service(name, _object(service), images.get(name), settings)
        if isinstance(found, str):
            left_out.append((name, found))
        else:
            meshed.append(found)
    document: Json = {
        **({"version": project["version"]} if "version" in project else {}),
        "services": {one.service: one.override for one in meshed} | _own(settings, meshed),
        "networks": {"pylis": {}},
        "volumes": {f"pylis-{name}": {} for name in ("data", "join", "run", "gate", "agent")},
    }
    return Override(document, tuple(meshed), tuple(left_out))


def _service(name: str, service: Json, image: Image | None, settings: Settings) -> Meshed | str:
    """The override of one service, or why it is left out."""
    mode = str(service.get("network_mode", "") or service.get("net", ""))
    if mode in ("host", "none") or mode.startswith(("service:", "container:")):
        return f"network_mode {mode}: it has no network namespace of its own"
    start = _start(service, image)
    if start is None:
        return "its image is not here, so what it starts is not known: build or pull it, and run init again"
    published = _published(service)
    ports = tuple(sorted({*published, *_exposed(service), *(image.ports if image else ())}))
    spoken = tuple(f"{'http' if port in _HTTP else 'tcp'}:{port}" for port in ports)
    entrypoint, command = start
    body: Json = {
        "labels": {
            "pylis.io/inject": "true",
            "pylis.io/mesh": namespace(settings.project),
            "pylis.io/namespace": namespace(settings.project),
            "pylis.io/service-account": _label(name),
            "pylis.io/ports": ",".join(spoken),
            "pylis.io/mode": settings.mode,
            "pylis.io/outbound": "ALLOW_ANY",
        },
        "cap_drop": ["NET_RAW"],
        "volumes": ["pylis-gate:/opt/pylis/gate:ro"],
        "depends_on": ["pylis-agent"],
        "entrypoint": [GATE, *entrypoint],
    }
    if command:
        body["command"] = command
    return Meshed(name, spoken, published, body)


def _start(service: Json, image: Image | None) -> tuple[list[str], list[str]] | None:
    """What the container would start: an entrypoint of the file's puts the image's command out of force."""
    written, command = service.get("entrypoint"), service.get("command")
    if image is None and (written is None or (command is None and written is None)):
        return None
    implied = image.command if image and written is None else ()
    entrypoint = _words(written) if written is not None else _from_image(image.entrypoint if image else ())
    rest = _words(command) if command is not None else _from_image(implied)
    return (entrypoint, rest) if entrypoint or rest else None


def _own(settings: Settings, meshed: list[Meshed]) -> Json:
    """Control plane, agent, and the mesh's first policies. Plain keys only: every compose file version has them."""
    where = namespace(settings.project)
    return {
        "pylis-control-plane": {
            "image": settings.image,
            "command": [
                "server",
                f"--trust-domain={where}.pylis.local",
                "--advertise=pylis-control-plane",
                f"--container-agent=docker={where}",
                "--join-socket=/run/pylis-join/join.sock",
            ],
            "restart": "unless-stopped",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "tmpfs": ["/tmp"],  # noqa: S108 - a tmpfs in a container
            "volumes": ["pylis-data:/var/lib/pylis", "pylis-join:/run/pylis-join"],
            "networks": ["pylis"],
        },
        "pylis-agent": {
            "image": settings.agent_image,
            "command": ["docker", "watch", f"--mesh={where}", "--join-socket=/run/pylis-join/join.sock"],
            "restart": "unless-stopped",
            "read_only": True,
            "pid": "host",
            "cap_drop": ["ALL"],
            "cap_add": ["SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "DAC_OVERRIDE"],
            "security_opt": ["no-new-privileges:true"],
            "stop_grace_period": "20s",
            "volumes": [
                "/var/run/docker.sock:/var/run/docker.sock",
                "pylis-join:/run/pylis-join",
                "pylis-run:/run/pylis",
                "pylis-gate:/opt/pylis/gate",
                "pylis-agent:/var/lib/pylis-agent",
            ],
            "networks": ["pylis"],
            "depends_on": ["pylis-control-plane"],
        },
        "pylis-policies": {
            "image": settings.image,
            "entrypoint": ["sh", "-c", _APPLY, policies(settings, meshed).replace("$", "$$")],
            "restart": "on-failure",
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
            "volumes": ["pylis-data:/var/lib/pylis:ro"],
            "networks": ["pylis"],
            "depends_on": ["pylis-control-plane"],
        },
    }


_APPLY: Final = 'printf "%s" "$$0" | pylis apply -f -'


def policies(settings: Settings, meshed: list[Meshed]) -> str:
    """Mutual TLS for the project; ports that are published also take callers from outside, who have none."""
    where = namespace(settings.project)
    found = [_AUTHENTICATION.format(name="default", namespace=where, selector="", ports="")]
    for one in meshed:
        if one.published:
            ports = "\n".join(f"    '{port}': {{mode: PERMISSIVE}}" for port in one.published)
            selector = f"  selector: {{matchLabels: {{app: {_label(one.service)}}}}}\n"
            text = f"\n  portLevelMtls:\n{ports}"
            found.append(
                _AUTHENTICATION.format(
                    name=_label(one.service), namespace=where, selector=selector, ports=text
                )
            )
    return "\n---\n".join(found) + "\n"


_AUTHENTICATION: Final = """apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: {name}, namespace: {namespace}}}
spec:
{selector}  mtls: {{mode: STRICT}}{ports}"""


def namespace(project: str) -> str:
    return _label(project)


def _published(service: Json) -> tuple[int, ...]:
    """Container ports of `ports`: short and long form, ranges, protocols."""
    found: list[int] = []
    for item in cast("list[Any]", service.get("ports") or []):
        if isinstance(item, dict):
            entry = cast("Json", item)
            if entry.get("protocol", "tcp") == "tcp":
                found += _range(str(entry.get("target", "")))
        else:
            text, _, protocol = str(item).partition("/")
            if protocol in ("", "tcp"):
                found += _range(text.rpartition(":")[2])
    return tuple(sorted(set(found)))


def _exposed(service: Json) -> tuple[int, ...]:
    found: list[int] = []
    for item in cast("list[Any]", service.get("expose") or []):
        text, _, protocol = str(item).partition("/")
        if protocol in ("", "tcp"):
            found += _range(text)
    return tuple(found)


def _range(text: str) -> list[int]:
    first, _, last = text.partition("-")
    if not first.isdecimal() or (last and not last.isdecimal()):
        return []
    return list(range(int(first), int(last or first) + 1))


def _words(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(one) for one in cast("list[Any]", value)]
    return shlex.split(str(value)) if value else []


def _from_image(words: tuple[str, ...]) -> list[str]:
    """Compose fills in `$NAME` in a file; what an image says is meant as it stands."""
    return [word.replace("$", "$$") for word in words]


def _label(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "unnamed"


def _object(value: Any) -> Json:
    return cast("Json", value) if isinstance(value, dict) else {}
