"""Who asks whom for what: the words of `pylis explain` as a caller, a target port and a request. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from controlplane.cli.output import Failure
from controlplane.mesh.mesh import Mesh
from controlplane.resources.service_entry import PortProtocol, ServiceEntry, ServicePort
from controlplane.resources.workload_entry import WorkloadEntry
from policies.document import Json
from policies.program import Protocol
from policies.request import IpAddress, Request
from policies.values import SPIFFE_SCHEME, read_address

PLAINTEXT: Final = "plaintext"


@dataclass(frozen=True, slots=True)
class Words:
    """What was typed; "" and 0 where nothing was."""

    caller: str
    target: str
    port: int = 0
    method: str = ""
    path: str = ""
    host: str = ""
    source_ip: str = ""
    remote_ip: str = ""
    sni: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    claims: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """One port of one workload; `port` is the workload's own."""

    entry: WorkloadEntry
    port: int
    protocol: Protocol
    authority: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    caller: str
    target: Target
    request: Request

    def __str__(self) -> str:
        who = (
            f"{self.caller} ({SPIFFE_SCHEME}{self.request.principal})"
            if self.request.principal
            else self.caller
        )
        what = (
            f"{self.request.method} {self.request.path}" if self.target.protocol is Protocol.HTTP else "TCP"
        )
        entry = self.target.entry
        return f"{who} → {entry.name}.{entry.namespace}:{self.target.port} {what}"


def ask(mesh: Mesh, words: Words) -> Question:
    """Raises: Failure when a name is unknown or means several workloads."""
    entry = _find(mesh, words.target)
    target = _find_port(mesh, entry, words)
    caller, principal, address = _find_caller(mesh, words.caller)
    connection = Request(
        principal,
        _read_ip(words.source_ip) or read_address(address),
        remote_ip=_read_ip(words.remote_ip),
        destination_ip=read_address(entry.address),
        sni=words.sni,
    )
    if target.protocol is Protocol.TCP:
        return Question(caller, target, connection)
    request = replace(
        connection,
        method=words.method or "GET",
        path=words.path or "/",
        host=words.host or target.authority,
        headers={name.lower(): value for name, value in words.headers.items()},
        claims=words.claims,
    )
    return Question(caller, target, request)


def _read_ip(text: str) -> IpAddress | None:
    """Raises: Failure."""
    found = read_address(text) if text else None
    if text and found is None:
        raise Failure(f'"{text}" is no IP address')
    return found


def _find_caller(mesh: Mesh, word: str) -> tuple[str, str | None, str]:
    """How the caller is called, its principal, its address."""
    if word == PLAINTEXT:
        return PLAINTEXT, None, ""
    if word.startswith(SPIFFE_SCHEME) or "/ns/" in word:
        principal = word.removeprefix(SPIFFE_SCHEME)
        return principal.rpartition("/")[2] or principal, principal, ""
    entry = _find(mesh, word)
    domain = mesh.settings.trust_domain
    return entry.name, f"{domain}/ns/{entry.namespace}/sa/{entry.service_account}", entry.address


def _find(mesh: Mesh, word: str) -> WorkloadEntry:
    """A workload by `name` or `namespace/name`, or the first behind a service of that name or host."""
    entries = [entry for entry in mesh.entries if word in (entry.name, f"{entry.namespace}/{entry.name}")]
    if not entries:
        services = [s for s in mesh.services if word in (s.name, f"{s.namespace}/{s.name}", *s.hosts)]
        entries = [members[0] for service in services if (members := mesh.selected_by(service))]
    if not entries:
        known = ", ".join(sorted(f"{entry.namespace}/{entry.name}" for entry in mesh.entries)) or "none"
        raise Failure(f'no workload is called "{word}"', hint=f"known here: {known}")
    if len(entries) > 1:
        names = ", ".join(f"{entry.namespace}/{entry.name}" for entry in entries)
        raise Failure(f'"{word}" may be any of {names}', hint="write namespace/name")
    return entries[0]


def _find_port(mesh: Mesh, entry: WorkloadEntry, words: Words) -> Target:
    offered = [(s, port) for s in mesh.services if entry in mesh.selected_by(s) for port in s.ports]
    found = [(s, port) for s, port in offered if words.port in (0, port.number, port.target_port)]
    http_wanted = words.method or words.path or words.host or words.headers
    found.sort(key=lambda pair: pair[1].protocol is PortProtocol.TCP if http_wanted else False)
    if not found and words.port:
        return Target(entry, words.port, Protocol.HTTP if http_wanted else Protocol.TCP)
    if not found:
        raise Failure(
            f"{entry.namespace}/{entry.name} offers no port: no ServiceEntry selects it",
            hint="name one: --port N",
        )
    service, port = found[0]
    return Target(entry, port.target_port or port.number, _protocol(port), _authority(service, port))


def _protocol(port: ServicePort) -> Protocol:
    return Protocol.TCP if port.protocol is PortProtocol.TCP else Protocol.HTTP


def _authority(service: ServiceEntry, port: ServicePort) -> str:
    host = service.hosts[0]
    return host if port.number == 80 else f"{host}:{port.number}"


def read_headers(texts: Sequence[str]) -> dict[str, str]:
    """`name=value` or `name: value`. Raises: Failure."""
    headers = dict[str, str]()
    for text in texts:
        mark = "=" if "=" in text and (":" not in text or text.index("=") < text.index(":")) else ":"
        name, found, value = text.partition(mark)
        if not found or not name.strip():
            raise Failure(f'"{text}" is no header', hint="write --header name=value")
        headers[name.strip()] = value.strip()
    return headers
