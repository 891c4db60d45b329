"""All that an installation writes, as values: path, mode, text. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from agent import rules
from agent.bootstrap import Sidecar, bootstrap
from agent.vm.host import SLICE, Host
from agent.vm.resources import resources
from agent.vm.units import (
    ADMIN_SOCKET,
    AGENT,
    AGENT_SOCKET,
    BOOTSTRAP,
    CONFIRMED,
    ENVOY,
    ETC,
    INTERCEPTION,
    REMOVAL,
    ROLLBACK,
    TIMER,
    TOKEN,
    TRIAL,
    Programs,
    units,
)
from ca.attest.join_token import JoinToken

SYSTEMD: Final = PurePosixPath("/etc/systemd/system")
RESOURCES: Final = ETC / "workload.yaml"


@dataclass(frozen=True, slots=True)
class File:
    """`secret`: its text is shown to nobody. `keep`: one that is there already is left as it is."""

    path: PurePosixPath
    text: str
    secret: bool = False
    keep: bool = False

    @property
    def mode(self) -> int:
        return 0o600 if self.secret else 0o644


def files(host: Host, token: JoinToken, programs: Programs) -> tuple[File, ...]:
    """In the order they are to be written: nothing names a file that is not there yet."""
    return (
        File(REMOVAL, rules.removal()),
        File(CONFIRMED, rules.removal(), keep=True),  # none are confirmed yet: nothing is loaded
        File(TRIAL, rules.machine(host.declared)),
        File(TOKEN, f"{token.encode()}\n", secret=True),
        File(BOOTSTRAP, json.dumps(bootstrap(_sidecar(host, token)), indent=1) + "\n"),
        File(RESOURCES, resources(host, token.agent)),
        *(File(SYSTEMD / name, text) for name, text in sorted(units(host, programs).items())),
    )


def _sidecar(host: Host, token: JoinToken) -> Sidecar:
    address, _, port = (token.sidecars or token.xds).rpartition(":")
    return Sidecar(
        host.namespace, host.name, host.service_account, token.trust_domain, address.strip("[]"), int(port),
        AGENT_SOCKET, ADMIN_SOCKET, mark=rules.MARK,
    )  # fmt: skip


def places() -> tuple[PurePosixPath, ...]:
    """Where an installation may have written, by whatever options."""
    names = (AGENT, ENVOY, INTERCEPTION, TIMER, ROLLBACK, SLICE)
    etc = (REMOVAL, CONFIRMED, TRIAL, TOKEN, BOOTSTRAP, RESOURCES)
    return (*etc, *(SYSTEMD / name for name in names))
