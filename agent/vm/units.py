"""The systemd units of a machine, as text. Pure.

    pylis-agent          identities; no capability at all, a user that exists only while it runs
    pylis-envoy          the sidecar; one capability, NET_RAW, to mark its connections
    pylis-interception   the confirmed rules, loaded before there is a network; NET_ADMIN, to run nft and nothing else
    pylis-rollback       a timer, and what it does: the confirmed rules take the place of those on trial
    pylis.slice          what of this machine is intercepted, where that is said by slice

A rollback needs neither Python nor the agent. A reboot is one, too: only confirmed rules are loaded then.
Source: systemd.exec(5), systemd.service(5), systemd.timer(5), systemd.special(7) network-pre.target
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from agent import envoy
from agent.vm.host import SLICE, Host

ETC: Final = PurePosixPath("/etc/pylis")
RUN: Final = PurePosixPath("/run/pylis")
STATE: Final = PurePosixPath("/var/lib/pylis-agent")
ADMIN_SOCKET: Final = "/run/pylis-envoy/admin.sock"
AGENT_SOCKET: Final = f"{RUN}/agent.sock"
CONFIRMED: Final = ETC / "interception.nft"
TRIAL: Final = ETC / "trial.nft"
REMOVAL: Final = ETC / "removal.nft"
BOOTSTRAP: Final = ETC / "envoy.json"
TOKEN: Final = ETC / "join-token"
AGENT, ENVOY, INTERCEPTION = "pylis-agent.service", "pylis-envoy.service", "pylis-interception.service"
TIMER, ROLLBACK = "pylis-rollback.timer", "pylis-rollback.service"

_CONFINED: Final = (
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectClock=yes",
    "ProtectHostname=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "KeyringMode=private",
    "RemoveIPC=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged @resources",
    "SystemCallErrorNumber=EPERM",
    "UMask=0077",
)


@dataclass(frozen=True, slots=True)
class Programs:
    """Absolute paths, readable by every user."""

    pylis: str
    envoy: str
    nft: str


def units(host: Host, programs: Programs) -> dict[str, str]:
    """File name → text, for /etc/systemd/system."""
    found = {
        AGENT: _agent(programs),
        ENVOY: _envoy(programs),
        INTERCEPTION: _interception(host, programs),
        TIMER: _timer(host),
        ROLLBACK: _rollback(host, programs),
    }
    return {**found, SLICE: _slice()} if host.declared.slice_path else found


def _agent(programs: Programs) -> str:
    command = [
        programs.pylis, "agent", "run", "--no-envoy", "--data-dir", str(STATE), "--socket", AGENT_SOCKET,
        "--token-file", "${CREDENTIALS_DIRECTORY}/join-token",
    ]  # fmt: skip
    return _text(
        Unit=["Description=Pylis agent: the identity of this machine's workload", *_WITH_NETWORK, *_ALWAYS],
        Service=[
            f"ExecStart={_line(command)}",
            f"LoadCredential=join-token:{TOKEN}",
            "DynamicUser=yes",
            "User=pylis-agent",
            f"StateDirectory={STATE.name}",
            "StateDirectoryMode=0700",
            f"RuntimeDirectory={RUN.name}",
            "RuntimeDirectoryMode=0755",
            "Restart=always",
            "RestartSec=1s",
            "MemoryMax=256M",
            "TasksMax=64",
            "CapabilityBoundingSet=",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
            "MemoryDenyWriteExecute=yes",
            *_CONFINED,
        ],
        Install=["WantedBy=multi-user.target"],
    )


def _envoy(programs: Programs) -> str:
    command = [programs.envoy, *envoy.arguments(Path(BOOTSTRAP))]
    return _text(
        Unit=[
            "Description=Pylis sidecar (Envoy): this machine's workload in the mesh",
            *_WITH_NETWORK,
            f"Wants={AGENT}",
            f"After={AGENT}",
            *_ALWAYS,
        ],
        Service=[
            f"ExecStart={_line(command)}",
            "DynamicUser=yes",
            "User=pylis-envoy",
            "RuntimeDirectory=pylis-envoy",
            "RuntimeDirectoryMode=0700",
            "Restart=always",
            "RestartSec=1s",
            "MemoryMax=512M",
            "TasksMax=128",
            "LimitNOFILE=65536",
            "AmbientCapabilities=CAP_NET_RAW",
            "CapabilityBoundingSet=CAP_NET_RAW",
            "ProtectProc=invisible",
            "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
            *_CONFINED,
        ],
        Install=["WantedBy=multi-user.target"],
    )


def _interception(host: Host, programs: Programs) -> str:
    return _text(
        Unit=[
            "Description=Pylis interception: the confirmed rules",
            "DefaultDependencies=no",
            "Wants=network-pre.target",
            "Before=network-pre.target shutdown.target",
            "Conflicts=shutdown.target",
            "After=local-fs.target",
            "RequiresMountsFor=/etc/pylis",
            *_slice_first(host),
        ],
        Service=[
            "Type=oneshot",
            "RemainAfterExit=yes",
            f"ExecStart={_line([programs.nft, '-f', str(CONFIRMED)])}",
            f"ExecReload={_line([programs.nft, '-f', str(CONFIRMED)])}",
            f"ExecStop={_line([programs.nft, '-f', str(REMOVAL)])}",
            *_NFT,
        ],
        Install=["WantedBy=sysinit.target"],
    )


def _timer(host: Host) -> str:
    return _text(
        Unit=["Description=Pylis: takes the rules on trial back unless they are confirmed"],
        Timer=[
            f"OnActiveSec={host.trial_seconds}s",
            "AccuracySec=1s",
            "RemainAfterElapse=no",
            f"Unit={ROLLBACK}",
        ],
    )


def _rollback(host: Host, programs: Programs) -> str:
    return _text(
        Unit=["Description=Pylis: the confirmed rules instead of those on trial", *_slice_first(host)],
        Service=[
            "Type=oneshot",
            f"ExecStart={_line([programs.nft, '-f', str(CONFIRMED)])}",
            *_NFT,
        ],
    )


def _slice() -> str:
    return _text(
        Unit=["Description=Pylis: what runs in here is intercepted", "DefaultDependencies=no"],
        Install=["WantedBy=sysinit.target"],
    )


_ALWAYS: Final = ("StartLimitIntervalSec=0",)  # a control plane may be away for long
_WITH_NETWORK: Final = ("Wants=network-online.target", "After=network-online.target")
_NFT: Final = (
    "CapabilityBoundingSet=CAP_NET_ADMIN",
    "RestrictAddressFamilies=AF_UNIX AF_NETLINK",
    "MemoryDenyWriteExecute=yes",
    *_CONFINED,
)


def _slice_first(host: Host) -> list[str]:
    """A rule knows a control group by its number: the group is there before, and stays."""
    return [f"Requires={SLICE}", f"After={SLICE}"] if host.declared.slice_path else []


def _text(**sections: Iterable[str]) -> str:
    written = ("\n".join([f"[{name}]", *lines]) for name, lines in sections.items())
    return "\n\n".join(written) + "\n"


def _line(command: list[str]) -> str:
    """Source: systemd.service(5), command lines: %% is a percent sign; here $ begins a variable, as it does there."""
    return " ".join(f'"{word}"' if " " in word else word for word in (w.replace("%", "%%") for w in command))
