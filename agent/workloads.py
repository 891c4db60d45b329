"""The workloads file: what one agent runs beside its identities. JSON, written by `pylis up` or by hand.

{"workloads": [{"namespace": "shop", "name": "orders", "serviceAccount": "orders", "sidecar": true,
                "command": ["python", "orders.py"], "env": {}, "cwd": ".", "restart": true,
                "logs": {"app": "…", "envoy": "…", "access": "…"},
                "readiness": {"address": "127.0.0.1:8080", "path": "/ready", "periodSeconds": 1,
                              "timeoutSeconds": 1, "failureThreshold": 3}}]}

`readiness` without a path: whether the address takes connections. It needs `pylis.io/watched-by` in the WorkloadEntry.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from agent.readiness import Probe

_ADDRESS: Final = re.compile(
    r"unix:///[^\0]+|(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]|localhost):\d{1,5}", re.ASCII
)
_PATH: Final = re.compile(r"/[!-~]*", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)


class WorkloadsFileError(Exception):
    """The file cannot be read as what it should be; the text says where."""


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """`command` empty: the application is started by somebody else. `logs`: app, envoy, access → path.

    `readiness` None: the agent does not say whether it is ready.
    """

    namespace: str
    name: str
    service_account: str
    sidecar: bool
    command: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    restart: bool
    logs: Mapping[str, str]
    readiness: Probe | None = None

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


def read(path: Path) -> tuple[WorkloadSpec, ...]:
    """Raises: WorkloadsFileError."""
    try:
        document: Any = json.loads(path.read_text())
    except OSError as error:
        raise WorkloadsFileError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise WorkloadsFileError(f"{path} is no JSON: {error}") from error
    try:
        return parse(document)
    except WorkloadsFileError as error:
        raise WorkloadsFileError(f"{path}: {error}") from error


def parse(document: Any) -> tuple[WorkloadSpec, ...]:
    """Raises: WorkloadsFileError."""
    items = cast("dict[str, Any]", document).get("workloads") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise WorkloadsFileError('no list "workloads"')
    found = tuple(_workload(f"workloads[{i}]", item) for i, item in enumerate(cast("list[Any]", items)))
    twice = [name for name, count in Counter(spec.full_name for spec in found).items() if count > 1]
    if twice:
        raise WorkloadsFileError(f"{', '.join(twice)} stands there twice")
    return found


def _workload(where: str, item: Any) -> WorkloadSpec:
    if not isinstance(item, dict):
        raise WorkloadsFileError(f"{where} is no object")
    fields = _Fields(where, cast("dict[str, Any]", item))
    name = fields.name("name")
    return WorkloadSpec(
        fields.name("namespace"),
        name,
        fields.text("serviceAccount") or name,
        fields.flag("sidecar"),
        fields.texts("command"),
        fields.table("env"),
        fields.text("cwd"),
        fields.flag("restart"),
        fields.table("logs"),
        fields.probe("readiness"),
    )


@dataclass(frozen=True, slots=True)
class _Fields:
    """One workload's fields, each read as what it has to be."""

    where: str
    fields: Mapping[str, Any]

    def name(self, key: str) -> str:
        """A name becomes part of the names of files."""
        value = self.text(key)
        if not _NAME.fullmatch(value) or (key == "namespace" and "." in value):
            raise self._wrong(key, "no name (lower-case letters, digits, - and .)")
        return value

    def text(self, key: str) -> str:
        value = self.fields.get(key) or ""
        if not _is_text(value):
            raise self._wrong(key, "no text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values: Any = self.fields.get(key) or []
        if not isinstance(values, list) or not all(map(_is_text, cast("list[Any]", values))):
            raise self._wrong(key, "no list of texts")
        return tuple(cast("list[str]", values))

    def table(self, key: str) -> dict[str, str]:
        value: Any = self.fields.get(key) or {}
        pairs: dict[Any, Any] = cast("dict[Any, Any]", value) if isinstance(value, dict) else {"": None}
        if not all(_is_text(v) for v in pairs.values()):
            raise self._wrong(key, "no object of texts")
        return pairs

    def flag(self, key: str) -> bool:
        value = self.fields.get(key, True)
        if not isinstance(value, bool):
            raise self._wrong(key, "neither true nor false")
        return value

    def probe(self, key: str) -> Probe | None:
        value: Any = self.fields.get(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._wrong(key, "no object")
        inner = _Fields(f"{self.where}.{key}", cast("dict[str, Any]", value))
        address = inner.text("address")
        if not _ADDRESS.fullmatch(address):
            raise inner._wrong("address", "no HOST:PORT and no unix:///PATH")
        path = inner.text("path")
        if path and not _PATH.fullmatch(path):
            raise inner._wrong("path", "no path")
        return Probe(
            address,
            path,
            inner.number("periodSeconds", 1.0),
            inner.number("timeoutSeconds", 1.0),
            int(inner.number("failureThreshold", 3)),
        )

    def number(self, key: str, default: float) -> float:
        value: Any = self.fields.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 3600:
            raise self._wrong(key, "no number up to 3600")
        return value

    def _wrong(self, key: str, what: str) -> WorkloadsFileError:
        return WorkloadsFileError(f"{self.where}.{key} is {what}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value  # a program's arguments cannot hold NUL
