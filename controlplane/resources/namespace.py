"""Namespace: a name that other resources live in."""

from __future__ import annotations

from dataclasses import dataclass

from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, is_label
from policies.problem import Problem


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str


def parse(document: Document) -> tuple[Namespace | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = root.child("metadata", required=True)
    name = metadata.text("name", required=True)
    if name and not is_label(name):
        metadata.add(codes.BAD_NAME, "name", f'"{name}" is no namespace', "at most 63 of a-z, 0-9 and -")
    if "namespace" in metadata:
        metadata.add(codes.UNKNOWN_FIELD, "namespace", "this kind has no namespace", "remove it")
    return (None if root.failed else Namespace(name)), root.problems
