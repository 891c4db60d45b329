"""What sidecars would have refused, had their services not only been observed: their access logs, added up. Pure.

A request leaves its line when it has been answered, a raw TCP connection when it ends.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.evaluate import MTLS_STRICT
from policies.program import DEFAULT_DENY
from policies.values import SPIFFE_SCHEME

_PLAINTEXT: Final = "plain text"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Requests, or connections, that are alike. `caller`: a principal, or whose plain text it was; `what` "" of TCP."""

    caller: str
    service: str
    port: int
    what: str
    rule: str
    count: int = 1
    last: str = ""

    @property
    def is_plaintext(self) -> bool:
        return self.rule == MTLS_STRICT


def refusals(
    logs: Iterable[tuple[str, Iterable[str]]], names: Mapping[str, str] | None = None
) -> list[Refusal]:
    """`logs`: a service's name with the lines of one of its sidecars; `names`: address → container. The most first."""
    found: dict[Refusal, Refusal] = {}
    for service, lines in logs:
        for line in lines:
            one = _read(service, line, names or {})
            if one is None:
                continue
            alike = replace(one, last="")
            before = found.get(alike, replace(alike, count=0))
            found[alike] = replace(before, count=before.count + 1, last=max(before.last, one.last))
    return sorted(found.values(), key=lambda one: (-one.count, one.service, one.caller, one.what))


def advice(one: Refusal) -> str:
    """The command, or the edit, that would let it through when the service is enforced.

    Callers choose paths and methods: they are quoted for the shell the command is meant for.
    """
    if one.is_plaintext:
        return "mesh the caller, or set portLevelMtls PERMISSIVE for the port (PeerAuthentication)"
    if not one.rule.startswith(DEFAULT_DENY):
        return f"a DENY rule says so: {one.rule}"
    method, _, path = one.what.partition(" ")
    request = ["--method", method, "--path", path] if path else []
    command = ["pylis", "policy", "suggest", SPIFFE_SCHEME + one.caller, one.service, "--port", str(one.port)]
    return shlex.join([*command, *request])


def _read(service: str, text: str, names: Mapping[str, str]) -> Refusal | None:
    """None for what is no line of ours, or would not have been refused."""
    if '"denied"' not in text:
        return None
    try:
        value: Any = json.loads(text[text.index("{") :])
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("observed") != "denied":  # pyright: ignore[reportUnknownMemberType] - JSON
        return None

    def word(name: str) -> str:
        found: Any = value.get(name, "")  # pyright: ignore[reportUnknownVariableType,reportUnknownMemberType] - JSON
        return str(found) if isinstance(found, str | int) else ""

    peer = word("peer").removeprefix(SPIFFE_SCHEME)
    address = word("remote").rpartition(":")[0].strip("[]")
    caller = peer or f"{_PLAINTEXT} from {names.get(address, address)}"
    path = word("path").partition("?")[0]
    what = f"{word('method')} {path}" if path else ""
    port = word("port")
    return Refusal(
        caller, service, int(port) if port.isdecimal() else 0, what, word("observedRule"), 1, word("time")
    )
