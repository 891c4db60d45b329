"""What `pylis doctor` says of this machine as a workload: units, rules, ssh, and whether the rules are on trial.

`found` is pure; `examine` looks. A finding is (level, what, text, next command), as the command shows it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.rules import SSH
from agent.vm import units
from agent.vm.machine import Machine

WELL, WARNING, FAILED = "ok", "warning", "failed"
Finding = tuple[str, str, str, str]
_CHAINS: Final = ("out_redirect", "in_redirect", "out_guard", "in_guard")
_FIRST_RULE: Final = re.compile(r"chain (\w+) \{\s*type [^\n]*\n\s*([^\n]*)")
_SECONDS: Final = 20


@dataclass(frozen=True, slots=True)
class Seen:
    """`stopped`: units of ours that are not active; `rules`: the table as nft lists it, "" for none.

    `confirmed`: are there rules that were confirmed? `unhealthy`: what agent and sidecar say, "" when well.
    """

    stopped: tuple[str, ...]
    rules: str
    confirmed: bool
    on_trial: bool
    unhealthy: str


def found(seen: Seen) -> list[Finding]:
    problems: list[Finding] = [
        (FAILED, unit, "is installed and does not run", f"systemctl restart {unit}   (journalctl -u {unit})")
        for unit in seen.stopped
    ]
    if seen.unhealthy and not seen.stopped:
        problems.append((FAILED, "sidecar", seen.unhealthy, "pylis agent try, when that is mended"))
    if seen.on_trial:
        text = "the rules are on trial: unconfirmed, they are taken back"
        problems.append((WARNING, "interception", text, "pylis agent confirm"))
    if seen.rules:
        problems += [
            (
                FAILED,
                "ssh",
                f"port {SSH} is not left out first in chain {chain}",
                "systemctl reload pylis-interception",
            )
            for chain in _without_ssh(seen.rules)
        ]
    elif seen.confirmed:
        text = "the confirmed rules are not loaded: declared ports are open in plain text"
        problems.append((FAILED, "interception", text, "systemctl reload-or-restart pylis-interception"))
    else:
        text = "no rules are loaded and none were confirmed: nothing is intercepted"
        problems.append((WARNING, "interception", text, "pylis agent try"))
    if problems:
        return problems
    return [(WELL, "interception", f"rules loaded and confirmed, port {SSH} left out", "")]


def _without_ssh(rules: str) -> list[str]:
    """Chains whose first rule does not pass ssh."""
    first = dict(_FIRST_RULE.findall(rules))
    return [chain for chain in _CHAINS if not _passes_ssh(first.get(chain, ""))]


def _passes_ssh(rule: str) -> bool:
    ports, word, _ = rule.removeprefix("tcp dport ").rpartition(" return")
    return bool(word) and rule.startswith("tcp dport ") and str(SSH) in re.findall(r"\d+", ports)


def examine() -> list[Finding]:
    """Of this machine; nothing where `pylis agent install` never ran."""
    machine = Machine(Path("/"))
    if not machine.at(units.TRIAL).exists():
        return []
    nft = shutil.which("nft") or "nft"
    confirmed = machine.at(units.CONFIRMED)
    stopped = [u for u in (units.AGENT, units.ENVOY) if _answer(["systemctl", "is-active", u]) != "active"]
    seen = Seen(
        tuple(stopped),
        _answer([nft, "list", "table", "inet", "pylis"]),
        confirmed.exists() and "chain" in confirmed.read_text(),
        machine.is_on_trial,
        machine.unhealthy(),
    )
    return found(seen)


def _answer(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
