"""Namespace: a name that other resources live in; its annotation `pylis.io/enforce` names services (`*`: all) that
refuse what policy refuses, whatever the label `pylis.io/mode` of their containers says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, is_label
from policies.problem import Problem

ENFORCE: Final = "pylis.io/enforce"
EVERYONE: Final = "*"


@dataclass(frozen=True, slots=True)
class Namespace:
    """`enforced`: service accounts, or EVERYONE."""

    name: str
    enforced: frozenset[str] = frozenset()

    def enforces(self, service_account: str) -> bool:
        return bool(self.enforced & {service_account, EVERYONE})


def parse(document: Document) -> tuple[Namespace | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = root.child("metadata", required=True)
    name = metadata.text("name", required=True)
    if name and not is_label(name):
        metadata.add(codes.BAD_NAME, "name", f'"{name}" is no namespace', "at most 63 of a-z, 0-9 and -")
    if "namespace" in metadata:
        metadata.add(codes.UNKNOWN_FIELD, "namespace", "this kind has no namespace", "remove it")
    text = metadata.text_map("annotations").get(ENFORCE, "")
    enforced = frozenset(filter(None, (one.strip() for one in text.split(","))))
    for one in sorted(enforced - {EVERYONE}):
        if not is_label(one):
            hint = f"{ENFORCE}: web,db or {ENFORCE}: '*'"
            metadata.add(codes.BAD_NAME, "annotations", f'{ENFORCE}: "{one}" is no service account', hint)
    return (None if root.failed else Namespace(name, enforced)), root.problems
