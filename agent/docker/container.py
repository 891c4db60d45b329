"""A container as the engine describes it, and what of it is reported to the control plane. Pure.

label                     meaning                                       default
pylis.io/inject           "true": in the mesh
pylis.io/namespace        of its identity and policies                  the compose project, or default
pylis.io/service-account  its identity                                  the compose service, or its name
pylis.io/ports            http:8080,tcp:5432,grpc:9000                  what it exposes, as TCP
pylis.io/hosts            more names it is called by                    its aliases on each network
pylis.io/labels           k=v,k=v: for policies' selectors              app=SERVICE ACCOUNT
pylis.io/outbound         REGISTRY_ONLY or ALLOW_ANY                    REGISTRY_ONLY
pylis.io/mode             enforce, or observe: nothing is refused yet   enforce
pylis.io/mesh             which agent takes it, of several on an engine that of no name
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ca.attest import docker
from ca.node_report import PROTOCOLS, FoundPort, FoundWorkload

INJECT: Final = "pylis.io/inject"
SIDECAR_OF: Final = "pylis.io/sidecar-of"
MESH: Final = "pylis.io/mesh"
AGENT: Final = "pylis.io/agent"  # of a sidecar: who made it, `Node.owner`
STARTED: Final = "pylis.io/app-started"
SPEC: Final = "pylis.io/spec"
PROJECT: Final = "pylis.io/project"  # of a sidecar: its app's compose project
WORKLOAD: Final = "pylis.io/workload"  # of a sidecar: NAMESPACE/SERVICE ACCOUNT
_PROJECT: Final = "com.docker.compose.project"
_SERVICE: Final = "com.docker.compose.service"
_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_OUTBOUND: Final = ("REGISTRY_ONLY", "ALLOW_ANY")
_MODES: Final = ("enforce", "observe")


@dataclass(frozen=True, slots=True)
class Container:
    """`started` names one life of it: a restart gives it a new network namespace."""

    id: str
    name: str
    labels: Mapping[str, str]
    running: bool
    pid: int
    started: str
    network_mode: str
    networks: Mapping[str, Mapping[str, Any]]
    exposed: tuple[str, ...]
    selectors: frozenset[str]

    @property
    def project(self) -> str:
        return self.labels.get(_PROJECT, "")


@dataclass(frozen=True, slots=True)
class Unfit:
    """A container that asks to be in the mesh and cannot be; the text says why and what to do."""

    container: str
    reason: str


def read(inspected: Mapping[str, Any], image: Mapping[str, Any] | None = None) -> Container:
    """`inspected` and `image` as the engine gives them."""
    config, state = inspected["Config"], inspected["State"]
    name = str(inspected["Name"]).lstrip("/")
    return Container(
        inspected["Id"], name, config.get("Labels") or {}, bool(state["Running"]), int(state["Pid"]),
        str(state["StartedAt"]), str(inspected["HostConfig"]["NetworkMode"]),
        inspected["NetworkSettings"]["Networks"] or {}, tuple(config.get("ExposedPorts") or {}),
        docker.selectors(inspected, image or {}) | {f"docker:container:{name}"},
    )  # fmt: skip


def is_app(labels: Mapping[str, str], mesh: str) -> bool:
    """Does a container with these labels ask to be in that mesh? Other meshes' are left alone."""
    return labels.get(INJECT) == "true" and labels.get(MESH, "") == mesh and SIDECAR_OF not in labels


def unfit(container: Container) -> Unfit | None:
    """Why it cannot have a sidecar; None when it can."""
    mode = container.network_mode
    if mode == "host" or mode.startswith("container:"):
        text = f"network mode {mode}: it has no network namespace of its own, and others' are not touched"
        return Unfit(container.name, f"{text}; give it a network, or remove the label {INJECT}")
    if not addresses(container):
        return Unfit(container.name, "it is in no network: there is nothing to intercept")
    try:
        _ports(container)
        _pairs(container.labels.get("pylis.io/labels", ""))
        _chosen(container, "pylis.io/outbound", _OUTBOUND)
        _chosen(container, "pylis.io/mode", _MODES)
    except ValueError as error:
        return Unfit(container.name, str(error))
    return None


def reported(container: Container, *, ipv6: bool) -> FoundWorkload:
    """For a container that is fit. `ipv6`: its namespace has IPv6."""
    labels = container.labels
    account = labels.get("pylis.io/service-account") or name_of(labels.get(_SERVICE) or container.name)
    namespace = labels.get("pylis.io/namespace") or name_of(container.project or "default")
    return FoundWorkload(
        namespace=namespace,
        service_account=account,
        name=name_of(container.name),
        hosts=_hosts(container),
        ports=_ports(container),
        labels={"app": account, **_pairs(labels.get("pylis.io/labels", ""))},
        selectors=_identifying(container),
        addresses=addresses(container),
        networks=_networks(container),
        ipv6=ipv6,
        passthrough=_chosen(container, "pylis.io/outbound", _OUTBOUND) == "ALLOW_ANY",
        observe=_chosen(container, "pylis.io/mode", _MODES) == "observe",
    )


def name_of(text: str) -> str:
    """A DNS label that looks like the text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63] or "unnamed"


def _identifying(container: Container) -> tuple[str, ...]:
    """What its registration asks for: what every replica has, and nothing else on this engine has."""
    found = sorted(one for one in container.selectors if one.startswith("docker:compose:"))
    return tuple(found) if len(found) == 2 else (f"docker:container:{container.name}",)


def _ports(container: Container) -> tuple[FoundPort, ...]:
    text = container.labels.get("pylis.io/ports")
    if text is None:
        exposed = (one.partition("/") for one in container.exposed)
        return tuple(FoundPort(int(number), "TCP") for number, _, kind in exposed if kind in ("", "tcp"))
    found: list[FoundPort] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        protocol, _, number = item.partition(":")
        if protocol.upper() not in PROTOCOLS or not number.isdecimal() or not 0 < int(number) < 65536:
            raise ValueError(
                f'label pylis.io/ports: "{item}" is no protocol and port, like http:8080 or tcp:5432'
            )
        found.append(FoundPort(int(number), protocol.upper()))
    return tuple(found)


def _hosts(container: Container) -> tuple[str, ...]:
    """Names a peer calls it by; not those that name this one container."""
    own = {container.id[:12], container.name}
    named = [container.labels.get(_SERVICE, "") or container.name]
    named += (container.labels.get("pylis.io/hosts", "")).split(",")
    for network in container.networks.values():
        named += network.get("Aliases") or []
    found = dict.fromkeys(one.strip().lower() for one in named)
    keep = own if container.labels.get(_SERVICE) else {container.id[:12]}
    return tuple(one for one in found if one and one not in keep and len(one) <= 253 and _HOST.fullmatch(one))


def addresses(container: Container) -> tuple[str, ...]:
    """IPv4 first; by the names of its networks."""
    found = [n["IPAddress"] for n in _by_name(container) if n.get("IPAddress")]
    return tuple(found + [n["GlobalIPv6Address"] for n in _by_name(container) if n.get("GlobalIPv6Address")])


def _networks(container: Container) -> tuple[str, ...]:
    found: list[str] = []
    for network in _by_name(container):
        for address, length in (("IPAddress", "IPPrefixLen"), ("GlobalIPv6Address", "GlobalIPv6PrefixLen")):
            if network.get(address):
                found.append(str(ipaddress.ip_network(f"{network[address]}/{network[length]}", strict=False)))
    return tuple(sorted(set(found)))


def _by_name(container: Container) -> list[Mapping[str, Any]]:
    return [container.networks[name] for name in sorted(container.networks)]


def _pairs(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in filter(None, text.split(",")):
        key, equals, value = item.strip().partition("=")
        if not equals or not key:
            raise ValueError(f'label pylis.io/labels: "{item}" is no key=value')
        found[key] = value
    return found


def _chosen(container: Container, label: str, known: tuple[str, ...]) -> str:
    value = container.labels.get(label, known[0])
    if value not in known:
        raise ValueError(f'label {label}: "{value}" is none of {", ".join(known)}')
    return value
