"""Label and field selectors, as Kubernetes writes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from controlplane.api.errors import bad_request

Object = dict[str, Any]
Labels = Mapping[str, str]
LONGEST: Final = 10_000  # characters of a selector
_KEY: Final = r"(?:[A-Za-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_VALUE: Final = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"
_EXISTS: Final = re.compile(rf"(!?)\s*({_KEY})", re.ASCII)
_EQUALS: Final = re.compile(rf"({_KEY})\s*(==|=|!=)\s*({_VALUE})", re.ASCII)
_IN: Final = re.compile(rf"({_KEY})\s+(in|notin)\s*\(\s*({_VALUE}(?:\s*,\s*{_VALUE})*)\s*\)", re.ASCII)


def label_selector(text: str) -> Callable[[Labels], bool]:
    """`a=b,c!=d,e,!f,g in (x,y),h notin (z)`. Raises: ApiError."""
    tests = [_label_test(part) for part in _split(text)]
    return lambda labels: all(test(labels) for test in tests)


def field_selector(text: str) -> Callable[[Object], bool]:
    """`metadata.name=x,metadata.namespace!=y,status.phase=z`. Raises: ApiError for any other field."""
    tests: list[tuple[tuple[str, ...], str, bool]] = []
    for part in _split(text):
        negated = "!=" in part
        field, operator, value = part.partition("!=" if negated else "=")
        field = field.strip()
        if not operator or field not in _FIELDS:
            raise bad_request(f"field label not supported: {field}")
        tests.append((tuple(field.split(".")), value.lstrip("=").strip(), negated))
    return lambda obj: all((_look(obj, path) == value) is not negated for path, value, negated in tests)


_FIELDS: Final = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.uid", "status.phase", "spec.action", "type", "reason",
     "involvedObject.name", "involvedObject.namespace", "involvedObject.uid", "involvedObject.kind"}
)  # fmt: skip


def _look(obj: Object, path: tuple[str, ...]) -> str:
    value: Any = obj
    for part in path:
        value = value.get(part, "") if isinstance(value, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - JSON
    return value if isinstance(value, str) else ""


def _split(text: str) -> list[str]:
    """At the commas outside parentheses."""
    if len(text) > LONGEST:
        raise bad_request(f"a selector has at most {LONGEST} characters")
    parts, depth, current = list[str](), 0, ""
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += character
    return [part.strip() for part in (*parts, current) if part.strip()]


def _label_test(part: str) -> Callable[[Labels], bool]:
    if found := _IN.fullmatch(part):
        key, word, values = found.groups()
        allowed = {v.strip() for v in values.split(",")}
        if word == "in":
            return lambda labels: labels.get(key) in allowed
        return lambda labels: labels.get(key) not in allowed
    if found := _EQUALS.fullmatch(part):
        key, word, value = found.groups()
        if word == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.fullmatch(part):
        negated, key = found.groups()
        return lambda labels: (key in labels) is not bool(negated)
    raise bad_request(f"unable to parse requirement: {part!r} is no label selector")
