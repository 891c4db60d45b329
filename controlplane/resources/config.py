"""ConfigMap and Secret: kept for tools that need a place for their own state (applysets, GitOps credentials).

Secret values are sealed at rest and never shown in logs, diffs or the audit log.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from policies import codes
from policies.document import Document
from policies.fields import Fields, read_metadata
from policies.problem import Problem


@dataclass(frozen=True, slots=True)
class ConfigMap:
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Secret:
    """`data` is decoded; its repr shows names only."""

    namespace: str
    name: str
    data: _Hidden


class _Hidden(dict[str, bytes]):
    def __repr__(self) -> str:
        return f"[{', '.join(self)}: redacted]"


def parse_config_map(document: Document) -> tuple[ConfigMap | None, list[Problem]]:
    root = Fields.of(document)
    root.only("apiVersion", "kind", "metadata", "data", "binaryData", "immutable")
    metadata = read_metadata(root)
    root.text_map("data")
    _base64(root, "binaryData")
    root.boolean("immutable")
    return (None if root.failed else ConfigMap(metadata.namespace, metadata.name)), root.problems


def parse_secret(document: Document) -> tuple[Secret | None, list[Problem]]:
    root = Fields.of(document)
    root.only("apiVersion", "kind", "metadata", "data", "stringData", "type", "immutable")
    metadata = read_metadata(root)
    data = _base64(root, "data")
    data.update({name: text.encode() for name, text in root.text_map("stringData").items()})
    root.text("type")
    root.boolean("immutable")
    return (None if root.failed else Secret(metadata.namespace, metadata.name, data)), root.problems


def _base64(root: Fields, name: str) -> _Hidden:
    found = _Hidden()
    for key, text in root.text_map(name).items():
        try:
            found[key] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            root.add(codes.BAD_FORMAT, f"{name}.{key}", "is no base64")
    return found
