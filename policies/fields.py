"""Typed reading of a Document: a wrong field becomes a problem with its path and line, and reading goes on.

Usable by the parser of any kind. Each reader answers with a usable empty value after a problem, so that one
pass finds all mistakes; whoever parses looks at `problems` in the end. An explicit `null` is a wrong type, as
in Kubernetes: a list somebody forgot to fill must not mean "any". What values mean does not belong here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from policies import codes
from policies.asked import Ask, Form
from policies.document import Document, Json
from policies.problem import Problem, Severity

TOP_LEVEL = ("apiVersion", "kind", "metadata", "spec", "status")
DEFAULT_NAMESPACE = "default"

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)

Choice = TypeVar("Choice", bound=StrEnum)


def step(path: str, to: str | int) -> str:
    """The path of an entry: `spec` and `rules` → `spec.rules`; `spec.rules` and 0 → `spec.rules[0]`."""
    if isinstance(to, int):
        return f"{path}[{to}]"
    return f"{path}.{to}" if path else to


def did_you_mean(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else f"known here: {', '.join(known)}"


@dataclass(slots=True)
class Fields:
    """One object inside a document; all of one document share the list `problems`."""

    document: Document
    path: str
    value: Mapping[str, Json]
    problems: list[Problem] = field(default_factory=list[Problem])

    @classmethod
    def of(cls, document: Document) -> Fields:
        return cls(document, "", document.value)

    @property
    def failed(self) -> bool:
        return any(problem.is_error for problem in self.problems)

    def __contains__(self, name: str) -> bool:
        return name in self.value

    def add(self, code: str, name: str | int, message: str, hint: str = "") -> None:
        """An error at the field `name` ("" for this object itself)."""
        path = self.path if name == "" else step(self.path, name)
        self.problems.append(self.document.problem(code, path, message, hint))

    def warn(self, code: str, name: str, message: str, hint: str = "") -> None:
        path = self.path if name == "" else step(self.path, name)
        self.problems.append(self.document.problem(code, path, message, hint, Severity.WARNING))

    def only(self, *known: str) -> None:
        """A problem for every field that is not one of `known`."""
        self._note("", Form.ONLY, known)
        for name in self.value:
            if name not in known:
                self.add(codes.UNKNOWN_FIELD, name, "unknown field", did_you_mean(name, known))

    def require(self, *names: str) -> None:
        self._note("", Form.REQUIRED, names)
        for name in names:
            if name not in self.value:
                self.add(codes.MISSING, name, "is required")

    def text(self, name: str, default: str = "", *, required: bool = False) -> str:
        self._note(name, Form.TEXT, required=required)
        if name not in self.value:
            if required:
                self.require(name)
            return default
        value = self.value[name]
        if not isinstance(value, str):
            self._wrong(name, "a string", value)
            return default
        if required and not value:
            self.add(codes.MISSING, name, "must not be empty")
        return value

    def texts(self, name: str, *, empty: bool = False) -> tuple[str, ...]:
        """A list of strings, each not empty unless `empty` says that one may be."""
        self._note(name, Form.TEXTS)
        found = list[str]()
        for index, value in enumerate(self._list(name)):
            if not isinstance(value, str):
                quoted = f'write "{value}" in quotes' if isinstance(value, int | float) else ""
                self._wrong(f"{name}[{index}]", "a string", value, quoted)
            elif not value and not empty:
                self.add(
                    codes.EMPTY_TEXT, f"{name}[{index}]", "is empty", "remove the entry or give it a value"
                )
            else:
                found.append(value)
        return tuple(found)

    def text_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings (labels, annotations)."""
        self._note(name, Form.TEXT_MAP)
        found = dict[str, str]()
        for key, value in self._object(name).items():
            if isinstance(value, str):
                found[key] = value
            else:
                self._wrong(step(name, key), "a string", value, "put it in quotes")
        return found

    def integer(self, name: str, *, low: int, high: int, default: int = 0, required: bool = False) -> int:
        self._note(name, Form.WHOLE, low=low, high=high, required=required)
        if name not in self.value:
            if required:
                self.require(name)
            return default
        value = self.value[name]
        if isinstance(value, bool) or not isinstance(value, int):
            self._wrong(name, "a whole number", value)
            return default
        if not low <= value <= high:
            self.add(codes.OUT_OF_RANGE, name, f"{value} is not within {low} to {high}")
            return default
        return value

    def boolean(self, name: str, *, default: bool = False) -> bool:
        self._note(name, Form.FLAG)
        value = self.value.get(name, default)
        if not isinstance(value, bool):
            self._wrong(name, "true or false", value)
            return default
        return value

    def choice(self, name: str, default: Choice) -> Choice:
        """One of the values of `default`'s enum, as it is written there."""
        known = tuple(str(member) for member in type(default))
        self._note(name, Form.CHOICE, known)
        word = self.text(name, str(default))
        if word in known:
            return type(default)(word)
        self.add(codes.NOT_A_CHOICE, name, f'"{word}" is not one of {", ".join(known)}', _close(word, known))
        return default

    def child(self, name: str, *, required: bool = False) -> Fields:
        """The object `name`; an empty one when it is not there or is no object."""
        self._note(name, Form.OBJECT)
        if required:
            self.require(name)
        return Fields(self.document, step(self.path, name), self._object(name), self.problems)

    def children(self, name: str) -> Iterator[Fields]:
        """The objects of the list `name`; entries that are none are problems and left out."""
        self._note(name, Form.OBJECTS)
        for index, value in enumerate(self._list(name)):
            path = f"{name}[{index}]"
            if isinstance(value, dict):
                yield Fields(self.document, step(self.path, path), value, self.problems)
            else:
                self._wrong(path, "an object", value)

    def _note(
        self,
        name: str,
        form: Form,
        words: tuple[str, ...] = (),
        *,
        low: int = 0,
        high: int = 0,
        required: bool = False,
    ) -> None:
        asked = self.document.asked
        if asked is not None:
            asked.append(Ask(self.path, name, form, words, low, high))
            if required:
                asked.append(Ask(self.path, "", Form.REQUIRED, (name,)))

    def _list(self, name: str) -> list[Json]:
        value = self.value.get(name, [])
        if isinstance(value, list):
            return value
        self._wrong(name, "a list", value, f"write [{value}]" if isinstance(value, str) else "")
        return []

    def _object(self, name: str) -> dict[str, Json]:
        value = self.value.get(name, {})
        if isinstance(value, dict):
            return value
        self._wrong(name, "an object", value)
        return {}

    def _wrong(self, name: str, wanted: str, value: Json, hint: str = "") -> None:
        if value is None:
            hint = "give it a value or remove the field"
        self.add(codes.WRONG_TYPE, name, f"must be {wanted}, not {_type_name(value)}", hint)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What Pylis reads of an object's metadata; the rest belongs to the API."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


def read_metadata(root: Fields) -> Metadata:
    """Name and namespace as Kubernetes takes them; no namespace is `default`."""
    metadata = root.child("metadata", required=True)
    name = metadata.text("name", required=True)
    namespace = metadata.text("namespace", DEFAULT_NAMESPACE)
    if name and not is_subdomain(name):
        metadata.add(
            codes.BAD_NAME, "name", f'"{name}" is no name', "lower case letters, digits, - and . only"
        )
    if not is_label(namespace):
        metadata.add(
            codes.BAD_NAME, "namespace", f'"{namespace}" is no namespace', "at most 63 of a-z, 0-9 and -"
        )
    return Metadata(namespace, name, metadata.text_map("labels"), metadata.text_map("annotations"))


def is_label(text: str) -> bool:
    """RFC 1123 label: what Kubernetes takes for a namespace."""
    return len(text) <= 63 and _LABEL.fullmatch(text) is not None


def is_subdomain(text: str) -> bool:
    """RFC 1123 subdomain: what Kubernetes takes for most names."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None


def _close(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word.upper(), known, n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""


def _type_name(value: Json) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case dict():
            return "an object"
