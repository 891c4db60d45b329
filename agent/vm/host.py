"""What `pylis agent install` is told of a machine, checked: all that is wrong is found before anything is written. Pure.

One machine is one workload. Its users or its slice say whose connections go through the sidecar, its ports which
are answered by it. Nothing that could lock somebody out is taken: ssh's ports, root, the sidecar's own ports.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.rules import INBOUND_PORT, OUTBOUND_PORT, SSH, Declared
from ca.attest.join_token import JoinToken
from ca.node_report import PROTOCOLS, FoundPort

SLICE: Final = "pylis.slice"
OUTBOUND: Final = ("REGISTRY_ONLY", "ALLOW_ANY")
SHORTEST_TRIAL, LONGEST_TRIAL = 10, 3600  # seconds
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_HOST: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_DYNAMIC: Final = range(61184, 65520)  # systemd's DynamicUser=; another process's after the next restart
_NOBODY: Final = 65534


@dataclass(frozen=True, slots=True)
class Problem:
    """`option` as it is typed; the text ends with what to do."""

    option: str
    text: str

    def __str__(self) -> str:
        return f"{self.option}: {self.text}"


@dataclass(frozen=True, slots=True)
class Answers:
    """What was typed, unchecked. `uids`: what this machine says of `users` (None: it knows no such user)."""

    workload: str
    service_account: str = ""
    address: str = ""
    networks: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    uids: Mapping[str, int | None] = field(default_factory=dict[str, int | None])
    in_slice: bool = False
    left_out: tuple[int, ...] = ()
    ssh_ports: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    outbound: str = OUTBOUND[0]
    trial_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Host:
    """A machine that can be installed. `declared` is what the rules are made of."""

    namespace: str
    name: str
    service_account: str
    address: str
    networks: tuple[str, ...]
    ports: tuple[FoundPort, ...]
    hosts: tuple[str, ...]
    passthrough: bool
    declared: Declared
    trial_seconds: int

    @property
    def ipv6(self) -> bool:
        return any(":" in text for text in (self.address, *self.networks))


def check(answers: Answers, token: JoinToken) -> Host | tuple[Problem, ...]:
    """The machine, or all that is wrong with the answers."""
    problems: list[Problem] = []
    namespace, name = _workload(answers.workload, problems)
    account = answers.service_account or name
    if account and not _LABEL.fullmatch(account):
        problems.append(
            Problem("--service-account", f'"{account}" is no name (lower-case letters, digits, -)')
        )
    networks = _networks(answers, problems)
    ports = _ports(answers, problems)
    uids = _uids(answers, problems)
    problems += [
        Problem("--host", f'"{host}" is no host name (lower-case letters, digits, - and .)')
        for host in answers.hosts
        if len(host) > 253 or not _HOST.fullmatch(host)
    ]
    problems += [
        Problem(option, f"{number} is no port: 1 to 65535")
        for option, numbers in (("--leave-out", answers.left_out), ("--ssh-port", answers.ssh_ports))
        for number in numbers
        if not 0 < number < 65536
    ]
    problems += [
        Problem("--ssh-port", f"{n} is the sidecar's own: let sshd listen on another")
        for n in answers.ssh_ports
        if n in (INBOUND_PORT, OUTBOUND_PORT)
    ]
    if answers.outbound not in OUTBOUND:
        problems.append(Problem("--outbound", f'"{answers.outbound}" is none of {", ".join(OUTBOUND)}'))
    if not SHORTEST_TRIAL <= answers.trial_seconds <= LONGEST_TRIAL:
        text = f"{answers.trial_seconds} is not within {SHORTEST_TRIAL} and {LONGEST_TRIAL} seconds"
        problems.append(Problem("--rollback-seconds", text))
    if not token.secret:
        text = "this is an invitation; a machine joins by a token of its own: pylis token create --agent NAME"
        problems.append(Problem("--token-file", text))
    if problems:
        return tuple(problems)
    declared = Declared(
        tuple(sorted(set(uids))),
        SLICE if answers.in_slice else "",
        tuple(sorted(port.number for port in ports)),
        tuple(sorted(set(answers.left_out))),
        tuple(sorted(set(answers.ssh_ports))),
    )
    return Host(
        namespace, name, account, answers.address, networks, ports, answers.hosts,
        answers.outbound == "ALLOW_ANY", declared, answers.trial_seconds,
    )  # fmt: skip


def _workload(text: str, problems: list[Problem]) -> tuple[str, str]:
    namespace, slash, name = text.partition("/")
    if not slash or not _LABEL.fullmatch(namespace) or not _LABEL.fullmatch(name):
        problems.append(Problem("--workload", f'"{text}" is no NAMESPACE/NAME, like shop/orders-1'))
        return "", ""
    return namespace, name


def _networks(answers: Answers, problems: list[Problem]) -> tuple[str, ...]:
    """CIDR, sorted. The machine's address has to be in one: there its peers look for it."""
    found: set[ipaddress.IPv4Network | ipaddress.IPv6Network] = set()
    before = len(problems)
    for text in answers.networks:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            problems.append(Problem("--network", f"{error}: write a network, like 10.0.0.0/24"))
            continue
        if network.prefixlen == 0:
            problems.append(Problem("--network", f"{network} is everything: name the mesh's own networks"))
        found.add(network)
    if not answers.networks:
        problems.append(
            Problem("--network", "name the networks that the mesh's machines are in, like 10.0.0.0/24")
        )
    try:
        address = ipaddress.ip_address(answers.address)
    except ValueError:
        problems.append(
            Problem(
                "--address", f'"{answers.address}" is no IP address: the one its peers reach this machine by'
            )
        )
        return ()
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        problems.append(Problem("--address", f"{address} leads no peer here: write an address of a network"))
    elif len(problems) == before and not any(address in network for network in found):
        problems.append(
            Problem("--network", f"none of them holds this machine's address {address}: add its own")
        )
    return tuple(sorted(map(str, found)))


def _ports(answers: Answers, problems: list[Problem]) -> tuple[FoundPort, ...]:
    ssh = {SSH, *answers.ssh_ports}
    found: list[FoundPort] = []
    for text in answers.ports:
        protocol, _, number = text.partition(":")
        protocol = protocol.upper()
        if (
            protocol not in PROTOCOLS
            or not number.isascii()
            or not number.isdecimal()
            or not 0 < int(number) < 65536
        ):
            problems.append(
                Problem("--port", f'"{text}" is no protocol and port, like http:8080 or tcp:5432')
            )
            continue
        port = int(number)
        if port in ssh:
            problems.append(
                Problem("--port", f"{port} is ssh's: it is never intercepted, so nobody is locked out")
            )
        elif port in (INBOUND_PORT, OUTBOUND_PORT):
            problems.append(
                Problem("--port", f"{port} is the sidecar's own: let the workload listen on another")
            )
        elif port in answers.left_out:
            problems.append(Problem("--leave-out", f"{port} is declared as --port, too: which of them?"))
        found.append(FoundPort(port, protocol))
    twice = [number for number, count in Counter(port.number for port in found).items() if count > 1]
    problems += [Problem("--port", f"{number} is declared twice") for number in twice]
    return tuple(sorted(found, key=lambda port: port.number))


def _uids(answers: Answers, problems: list[Problem]) -> Iterable[int]:
    if not answers.users and not answers.in_slice:
        text = f"say whose connections are intercepted: --user NAME, or --slice for what runs in {SLICE}"
        problems.append(Problem("--user", text))
    found: list[int] = []
    for user in answers.users:
        uid = answers.uids.get(user)
        if uid is None:
            problems.append(
                Problem("--user", f'"{user}" is unknown on this machine: useradd --system {user}')
            )
        elif uid == 0:
            text = "root is never intercepted (sshd, updates and the agent are root's): give the workload a user of its own"
            problems.append(Problem("--user", text))
        elif uid in _DYNAMIC or uid == _NOBODY:
            text = f"uid {uid} belongs to no user for long: use --slice, and Slice={SLICE} in the workload's unit"
            problems.append(Problem("--user", text))
        else:
            found.append(uid)
    return found
