"""Lines of sidecars' access logs, and the story of one request in them. Pure.

A request leaves a line at the caller's sidecar (outbound) and one at the called one (inbound), with the same id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from policies.document import Json
from policies.values import SPIFFE_SCHEME

REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Line:
    """One request as one sidecar saw it. `peer` is the principal of the caller, inbound only; `rule` what decided."""

    sidecar: str
    direction: str
    request_id: str
    time: str
    method: str
    path: str
    host: str
    port: int
    status: int
    peer: str
    remote: str
    rule: str
    details: str
    milliseconds: int

    @property
    def inbound(self) -> bool:
        return self.direction == "inbound"

    @property
    def allowed(self) -> bool:
        """An answer of the application may be a 403, too: then the rule allowed it."""
        return self.status not in REFUSED or self.details == "via_upstream"

    def to_json(self) -> dict[str, Json]:
        return {
            "sidecar": self.sidecar,
            "direction": self.direction,
            "requestId": self.request_id,
            "time": self.time,
            "allowed": self.allowed,
            "status": self.status,
            "rule": self.rule or None,
            "details": self.details,
            "method": self.method,
            "path": self.path,
            "host": self.host,
            "port": self.port,
            "principal": self.peer or None,
            "remote": self.remote,
            "ms": self.milliseconds,
        }


def find(request_id: str, sidecar: str, lines: Iterable[str]) -> list[Line]:
    """The lines of a request; its id may be given by its beginning. What is no line of ours is passed over."""
    found = list[Line]()
    for text in lines:
        if request_id in text:
            line = _read(sidecar, text)
            if line is not None and line.request_id.startswith(request_id):
                found.append(line)
    return found


def deciding(lines: Iterable[Line]) -> Line | None:
    """The line of the sidecar that decided: the called one's, or the caller's own if it let nothing out."""
    ordered = sorted(lines, key=lambda line: (line.inbound, line.time))
    return ordered[-1] if ordered else None


def _read(sidecar: str, text: str) -> Line | None:
    try:
        value: Json = json.loads(text[text.index("{") :])
    except ValueError:
        return None
    if not isinstance(value, dict) or value.get("event") != "request":
        return None

    def word(name: str) -> str:
        found = value.get(name)
        return found if isinstance(found, str) else ""

    def number(name: str) -> int:
        found = value.get(name)
        if isinstance(found, int) and not isinstance(found, bool):
            return found
        return int(found) if isinstance(found, str) and found.isdecimal() else 0

    return Line(
        sidecar=sidecar,
        direction=word("direction"),
        request_id=word("requestId"),
        time=word("time"),
        method=word("method"),
        path=word("path"),
        host=word("host"),
        port=number("port"),
        status=number("status"),
        peer=word("peer").removeprefix(SPIFFE_SCHEME),
        remote=word("remote"),
        rule=word("rule"),
        details=word("details"),
        milliseconds=number("ms"),
    )
