"""What must hold in the demo mesh, as expectations.yaml says it, and what did."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.client import Outcome
from demo.mesh import HERE

ENFORCE, OBSERVE = "enforce", "observe"
_EDITS = ("live-edit", "live-edit-undone", "new-service", "removed-service")


@dataclass(frozen=True, slots=True)
class Expectation:
    id: str
    source: str
    to: str
    expect: str
    rule: str
    how: str = "http"
    via: str = "direct"
    method: str = "GET"
    path: str = "/"
    port: str = ""
    host: str = ""
    headers: dict[str, str] | None = None
    mode: str = ENFORCE

    @property
    def service(self) -> str:
        return self.to.partition("/")[2]

    @property
    def caller(self) -> str:
        return self.source.partition("/")[2]

    @property
    def address(self) -> str:
        """By which name and port an application calls the service."""
        namespace, _, name = self.to.partition("/")
        return f"{name}.{namespace}:8080"

    @property
    def is_through_sidecar(self) -> bool:
        return self.via == "sidecar" or self.how in _EDITS

    @property
    def would_be_refused(self) -> bool:
        """Not now, but by the rule, were the service enforced."""
        return self.mode == OBSERVE and self.rule in ("default-deny", "mtls-strict")

    def is_peer(self, line: dict[str, Any]) -> bool:
        """Whether a line of an access log is about the caller."""
        namespace, _, account = self.source.partition("/")
        return str(line.get("peer", "")).endswith(f"/ns/{namespace}/sa/{account}")


@dataclass(frozen=True, slots=True)
class Held:
    expectation: Expectation
    outcome: Outcome
    rule: str

    @property
    def ok(self) -> bool:
        # a default denial also names the nearest rule: `default-deny:<rule>:<what failed>`
        decided = self.rule == self.expectation.rule or self.rule.startswith(f"{self.expectation.rule}:")
        return self.outcome.actual == self.expectation.expect and decided

    def as_json(self) -> dict[str, Any]:
        e = self.expectation
        request = f"{e.method} {e.path}" if e.how not in ("tcp", "stolen-node") else e.how
        return {
            "id": e.id, "from": e.source, "to": e.to, "request": request, "expect": e.expect,
            "actual": self.outcome.actual, "status": self.outcome.status, "rule": self.rule, "ok": self.ok,
        }  # fmt: skip


def load(path: Path = HERE / "expectations.yaml") -> list[Expectation]:
    return [Expectation(source=item.pop("from"), **item) for item in yaml.safe_load(path.read_text())]
