"""The workloads file: what one agent runs beside its identities. JSON, written by `pylis up` or by hand.

{"workloads": [{"namespace": "shop", "name": "orders", "serviceAccount": "orders", "sidecar": true,
                "command": ["python", "orders.py"], "env": {}, "cwd": ".", "restart": true,
                "logs": {"app": "…", "envoy": "…", "access": "…"}}]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast


class WorkloadsFileError(Exception):
    """The file cannot be read as what it should be; the text says where."""


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """`command` empty: the application is started by somebody else. `logs`: app, envoy, access → path."""

    namespace: str
    name: str
    service_account: str
    sidecar: bool
    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    restart: bool
    logs: Mapping[str, str]

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


def read(path: Path) -> tuple[WorkloadSpec, ...]:
    """Raises: WorkloadsFileError."""
    try:
        document: Any = json.loads(path.read_text())
        return tuple(_workload(item) for item in document["workloads"])
    except OSError as error:
        raise WorkloadsFileError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WorkloadsFileError(f"{path} is no workloads file: {error}") from error


def _workload(item: Any) -> WorkloadSpec:
    fields = cast("dict[str, Any]", item)
    return WorkloadSpec(
        str(fields["namespace"]),
        str(fields["name"]),
        str(fields.get("serviceAccount", fields["name"])),
        bool(fields.get("sidecar", True)),
        tuple(map(str, fields.get("command", ()))),
        {str(k): str(v) for k, v in fields.get("env", {}).items()},
        str(fields.get("cwd", "")),
        bool(fields.get("restart", True)),
        {str(k): str(v) for k, v in fields.get("logs", {}).items()},
    )
