"""YAML or JSON text → Documents with the line of each field. Any text ends in values or problems.

Built from the parser's events without recursion: composing nodes by libyaml crashes the process on deep text.
Values are what kubectl would send: no tags, no timestamps, no NaN, no base-60 numbers. Aliases share their
value, and what they stand for counts towards `MAX_NODES`: a small file cannot mean a huge object.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from policies import codes
from policies.document import Document, Json
from policies.fields import step
from policies.problem import Origin, Problem

MAX_DEPTH: Final = 100
MAX_NODES: Final = 500_000  # a document, aliases counted as often as they stand
_yaml: Any = yaml  # its stub leaves types unknown
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG: Final = "tag:yaml.org,2002:"


def read_text(text: str, name: str) -> tuple[list[Document], list[Problem]]:
    """All documents of one text, up to where it stops being YAML; `name` is the file's in problems."""
    documents: list[Document] = []
    problems: list[Problem] = []
    events: Iterator[Any] = _yaml.parse(text, Loader=_Loader)
    try:
        for value, lines in _Builder(name, problems).build(events):
            if isinstance(value, dict):
                documents.append(Document(value, name, lines))
            elif value is not None:
                message = "a resource must be an object"
                problems.append(Problem(codes.UNREADABLE, "", message, "", Origin(name, lines.get("", 0))))
    except _RefusedError as error:
        problems.append(Problem(codes.UNREADABLE, error.path, str(error), "", Origin(name, error.line)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        problems.append(Problem(codes.UNREADABLE, "", str(error.problem), "", Origin(name, line)))
    except yaml.YAMLError as error:
        problems.append(Problem(codes.UNREADABLE, "", str(error).splitlines()[0], "", Origin(name)))
    return documents, problems


class _RefusedError(Exception):
    """Text that is YAML, and that is not read: the rest of the file is left."""

    def __init__(self, message: str, path: str, line: int) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


@dataclass(slots=True)
class _Open:
    """A mapping or sequence that has not ended; `key` is the one that waits for its value."""

    value: dict[str, Json] | list[Json]
    path: str
    anchor: str | None
    nodes_before: int
    key: str | None = None


@dataclass(slots=True)
class _Builder:
    file: str
    problems: list[Problem]
    stack: list[_Open] = field(default_factory=list[_Open])
    anchors: dict[str, tuple[Json, int]] = field(default_factory=dict[str, tuple[Json, int]])
    lines: dict[str, int] = field(default_factory=dict[str, int])
    nodes: int = 0
    root: Json = None

    def build(self, events: Iterator[Any]) -> Iterator[tuple[Json, dict[str, int]]]:
        for event in events:
            match event:
                case yaml.DocumentStartEvent():
                    self.anchors, self.lines, self.nodes, self.root = {}, {}, 0, None
                case yaml.DocumentEndEvent():
                    yield self.root, self.lines
                case yaml.MappingStartEvent():
                    self._open({}, event)
                case yaml.SequenceStartEvent():
                    self._open([], event)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    self._close()
                case yaml.ScalarEvent() if self._wants_key():
                    self._key(str(event.value), _line(event))
                case yaml.ScalarEvent():
                    self._scalar(event)
                case yaml.AliasEvent():
                    self._alias(event)
                case _:
                    continue

    def _wants_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None

    def _key(self, key: str, line: int) -> None:
        parent = self.stack[-1]
        path = step(parent.path, key)
        if key in parent.value:
            text = f'"{key}" stands twice'
            self.problems.append(
                Problem(codes.DEFINED_TWICE, path, text, "keep one of them", Origin(self.file, line))
            )
        self.lines[path] = line
        parent.key = key

    def _place(self, event: Any) -> str:
        """The path where the value that begins now belongs; its line is noted and it is counted."""
        line = _line(event)
        path = self.stack[-1].path if self.stack else ""
        if self._wants_key():
            raise _RefusedError("a key must be plain text", path, line)
        if self.stack:
            parent = self.stack[-1]
            path = step(path, len(parent.value) if isinstance(parent.value, list) else str(parent.key))
        self.lines.setdefault(path, line)
        self._count(1, path, line)
        return path

    def _count(self, nodes: int, path: str, line: int) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise _RefusedError(f"the document means more than {MAX_NODES} values", path, line)

    def _put(self, value: Json) -> None:
        if not self.stack:
            self.root = value
            return
        parent = self.stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(value)
        else:
            parent.value[str(parent.key)] = value
            parent.key = None

    def _open(self, value: dict[str, Json] | list[Json], event: Any) -> None:
        nodes_before, path = self.nodes, self._place(event)
        if len(self.stack) >= MAX_DEPTH:
            raise _RefusedError(f"nests deeper than {MAX_DEPTH}", "", _line(event))
        self.stack.append(_Open(value, path, event.anchor, nodes_before))

    def _close(self) -> None:
        done = self.stack.pop()
        if done.anchor:
            self.anchors[done.anchor] = (done.value, self.nodes - done.nodes_before)
        self._put(done.value)

    def _scalar(self, event: Any) -> None:
        path = self._place(event)
        try:
            value = _scalar(event)
        except ValueError as error:
            problem = Problem(codes.UNREADABLE, path, str(error), "", Origin(self.file, _line(event)))
            self.problems.append(problem)
            value = None
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)
        self._put(value)

    def _alias(self, event: Any) -> None:
        path, line = self._place(event), _line(event)
        if event.anchor not in self.anchors:
            raise _RefusedError(f"*{event.anchor} stands for nothing that is complete here", path, line)
        value, nodes = self.anchors[event.anchor]
        self._count(nodes, path, line)
        if len(self.stack) + _depth(value) > MAX_DEPTH:
            raise _RefusedError(f"nests deeper than {MAX_DEPTH}", path, line)
        self._put(value)


def _depth(value: Json) -> int:
    """How deep a value nests; it is known to be within `MAX_DEPTH` itself."""
    match value:
        case dict():
            return 1 + max(map(_depth, value.values()), default=0)
        case list():
            return 1 + max(map(_depth, value), default=0)
        case _:
            return 0


def _scalar(event: Any) -> Json:
    """Raises: ValueError, worded for the user."""
    text, tag = str(event.value), event.tag
    if tag is None:
        tag = _resolve(text) if event.implicit[0] else f"{_TAG}str"
    match str(tag).removeprefix(_TAG):
        case "null":
            return None
        case "bool" if text.lower() in SafeConstructor.bool_values:
            return SafeConstructor.bool_values[text.lower()]
        case "int" if ":" not in text:
            return _number(text, "int")
        case "float" if ":" not in text:
            return _number(text, "float")
        case "!" | "str" | "int" | "float" | "timestamp" | "value" | "merge":
            return text
        case _:
            raise ValueError(f"the tag {tag} is not read; write plain text, a number, true, false or null")


def _resolve(text: str) -> str:
    resolver: Any = Resolver()
    return str(resolver.resolve(yaml.ScalarNode, text, (True, False)))


def _number(text: str, kind: str) -> int | float:
    constructor: Any = SafeConstructor()
    construct = constructor.construct_yaml_int if kind == "int" else constructor.construct_yaml_float
    try:
        number: Any = construct(yaml.ScalarNode(f"{_TAG}{kind}", text))
    except (ValueError, IndexError):
        number = None
    if not isinstance(number, int | float) or (isinstance(number, float) and not math.isfinite(number)):
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        raise ValueError(f"{shown} is no number that JSON can hold; write it in quotes if it is text")
    return number


def _line(event: Any) -> int:
    return event.start_mark.line + 1
