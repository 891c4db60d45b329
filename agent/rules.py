"""Interception as nftables text: redirect, and guard, for a container's network namespace or for a whole machine. Pure.

    out_redirect   the app's TCP goes to the sidecar; the sidecar's own, marked, goes out
    in_redirect    TCP from outside goes to the sidecar
    out_guard      what was not redirected and is not marked is reset: connections of before the rules, and a sidecar
    in_guard       that forgot its mark

A container is taken whole. Of a machine only what is declared: the TCP of some users or of one slice, and some
ports; ssh is left out by the first rule of each chain, whatever else is declared.

Loaded in one transaction that also removes what was there, so open connections through the sidecar live on.
A container's loopback is left alone, and with it Docker's DNS: it is one trust domain. On a machine other users can
reach neither the workload's ports nor the sidecar over loopback. UDP and ICMP are not covered.
Source: nft(8); hooks and priorities are numbers, for older nft knows their names on fewer hooks
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

TABLE: Final = "pylis"
MARK: Final = 0x50590001
PROXY_UID: Final = 61337
INBOUND_PORT: Final = 15006
OUTBOUND_PORT: Final = 15001
SSH: Final = 22
_NOT_TCP: Final = "meta l4proto != tcp return"
_RESET: Final = "reject with tcp reset"
_OUT: Final = f"redirect to :{OUTBOUND_PORT}"
_IN: Final = f"redirect to :{INBOUND_PORT}"


@dataclass(frozen=True, slots=True)
class Declared:
    """What of a machine is intercepted: the TCP that `users` (uids) and what runs in `slice_path` begin, and what
    comes to `ports`.

    `slice_path` is below the root of cgroup v2, like `pylis.slice`; "" for none. `left_out`: ports of others that
    users reach without the sidecar. `ssh`: where sshd listens here, beside 22.
    """

    users: tuple[int, ...] = ()
    slice_path: str = ""
    ports: tuple[int, ...] = ()
    left_out: tuple[int, ...] = ()
    ssh: tuple[int, ...] = ()

    @property
    def ssh_ports(self) -> tuple[int, ...]:
        return tuple(sorted({SSH, *self.ssh}))


def removal() -> str:
    """Also right where there is nothing to remove."""
    return f"add table inet {TABLE}\ndelete table inet {TABLE}\n"


def container() -> str:
    """For `nft -f -` inside the namespace."""
    return _table(
        out_redirect=[
            _NOT_TCP,
            'oif "lo" return',
            f"meta mark {MARK:#x} ct mark set meta mark return",
            f"meta skuid {PROXY_UID} return",
            f"meta l4proto tcp {_OUT}",
        ],
        in_redirect=[
            _NOT_TCP,
            'iif "lo" return',
            "fib daddr type != local return",
            f"meta l4proto tcp {_IN}",
        ],
        out_guard=[_NOT_TCP, 'oif "lo" return', *_KNOWN, _RST, f"meta l4proto tcp {_RESET}"],
        in_guard=[_NOT_TCP, 'iif "lo" return', *_KNOWN, f"meta l4proto tcp {_RESET}"],
    )


def machine(declared: Declared) -> str:
    """For `nft -f` in the network namespace of the machine itself."""
    whose, ports = _whose(declared), declared.ports
    ssh = f"tcp dport {_set(declared.ssh_ports)} return"
    # sshd's own packets; above 1023 any user could call from such a port, so there only replies are passed, below
    sshd = f"tcp sport {_set(port for port in declared.ssh_ports if port < 1024)} return"
    own = _set((OUTBOUND_PORT, INBOUND_PORT))
    return _table(
        out_redirect=[
            ssh,
            sshd,
            _NOT_TCP,
            'oif "lo" return',
            f"meta mark {MARK:#x} ct mark set meta mark return",
            *_each(declared.left_out, "tcp dport {} return"),
            *(f"{one} meta l4proto tcp {_OUT}" for one in whose),
        ],
        in_redirect=[
            ssh,
            'iif "lo" return',
            "fib daddr type != local return",
            *_each(ports, f"tcp dport {{}} {_IN}"),
        ],
        # replies are passed: to cut them would hang what calls the users' ports that are not declared
        out_guard=[
            ssh,
            sshd,
            _NOT_TCP,
            "ct direction reply return",
            *_KNOWN,
            _RST,
            f"meta mark {MARK:#x} return",
            f'oif "lo" ct state new tcp dport {own} {_RESET}',  # nobody borrows the sidecar's identity
            'oif "lo" meta skuid 0 return',
            *(f'oif "lo" {one} return' for one in whose),
            *_each(ports, f'oif "lo" ct state new tcp dport {{}} {_RESET}'),
            'oif "lo" return',
            *_each(declared.left_out, "tcp dport {} return"),
            *(f"{one} meta l4proto tcp {_RESET}" for one in whose),
        ],
        in_guard=[
            ssh,
            _NOT_TCP,
            'iif "lo" return',
            *_KNOWN,
            *_each(ports, f"tcp dport {{}} {_RESET}"),
        ],
    )


_KNOWN: Final = (f"ct mark {MARK:#x} return", "ct status dnat return")
_RST: Final = "tcp flags & rst == rst return"  # refusals, this table's own among them


def _table(
    *,
    out_redirect: Iterable[str],
    in_redirect: Iterable[str],
    out_guard: Iterable[str],
    in_guard: Iterable[str],
) -> str:
    chains = [
        _chain("out_redirect", "nat hook output priority -100", out_redirect),
        _chain("in_redirect", "nat hook prerouting priority -100", in_redirect),
        _chain("out_guard", "filter hook output priority 0", out_guard),
        _chain("in_guard", "filter hook input priority 0", in_guard),
    ]
    return f"{removal()}table inet {TABLE} {{\n{''.join(chains)}}}\n"


def _chain(name: str, hook: str, rules: Iterable[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {name} {{\n    type {hook}; policy accept;\n{lines}  }}\n"


def _whose(declared: Declared) -> list[str]:
    found = [f"meta skuid {_set(declared.users)}"] if declared.users else []
    if declared.slice_path:
        level = declared.slice_path.count("/") + 1
        found.append(f'socket cgroupv2 level {level} "{declared.slice_path}"')
    return found


def _each(ports: Sequence[int], rule: str) -> list[str]:
    """One rule for all of them; none where there is no port, for a set cannot be empty."""
    return [rule.format(_set(ports))] if ports else []


def _set(numbers: Iterable[int]) -> str:
    return f"{{ {', '.join(map(str, sorted(set(numbers))))} }}"
