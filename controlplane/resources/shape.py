"""What fields a kind has, found by asking its parser. Pure.

The parser is run on a document that grows: each field that is asked for is put in with a sample, until nothing
new is asked; then once more with each word of each choice. Last, each field is tried with null and with an empty
list, and a field that is known and never asked for with anything: what is refused at the field itself is not
in the shape.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from policies.asked import Ask, Form
from policies.document import Document, Json
from policies.problem import Problem

Parse = Callable[[Document], tuple[object | None, list[Problem]]]

ANY_KEY: Final = "80"  # a name that is a port, a label and an identifier: stands for the keys of a map
# what a text must be so that its parser reads on
SAMPLES: Final[Mapping[str, str]] = {"key": "source.ip"}
_ANYTHING: Final[tuple[Json, ...]] = ({}, [], "x", "true", 1)
_MAX_ROUNDS: Final = 40
_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_STRONGER: Final = {
    Form.OBJECT: 0, Form.TEXT: 0, Form.TEXTS: 1, Form.TEXT_MAP: 1, Form.WHOLE: 1, Form.FLAG: 1, Form.CHOICE: 1,
    Form.OBJECTS: 1,
}  # fmt: skip


@dataclass(slots=True)
class Shape:
    """A field. An object has `fields`, is `closed` to others, or takes any key with `values`."""

    form: Form
    words: tuple[str, ...] = ()
    low: int = 0
    high: int = 0
    fields: dict[str, Shape] = field(default_factory=dict[str, "Shape"])
    closed: bool = False
    known: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    values: Shape | None = None
    nullable: bool = False
    not_empty: bool = False


def shape_of(parse: Parse, start: dict[str, Json]) -> Shape:
    """The shape of what `parse` reads; `start` is what every document of the kind has."""
    asked = dict[Ask, None]()
    value = _grow(parse, copy.deepcopy(start), asked)
    for ask in [ask for ask in asked if ask.form is Form.CHOICE]:
        for word in ask.words:
            chosen = copy.deepcopy(value)
            _set(chosen, ask, word)
            _grow(parse, chosen, asked)
    shape = _assemble("", asked)
    _try(_Trial(parse, value), "", shape)
    return shape


def _grow(parse: Parse, value: dict[str, Json], asked: dict[Ask, None]) -> dict[str, Json]:
    for _ in range(_MAX_ROUNDS):
        notes: list[Ask] = []
        parse(Document(copy.deepcopy(value), asked=notes))
        before = len(asked)
        asked |= dict.fromkeys(notes)
        grown = sum(_add_sample(value, ask) for ask in asked)
        grown += sum(_add_known(value, ask) for ask in notes)
        grown += sum(_add_any_key(value, path) for path in _open_objects(asked))
        if not grown and len(asked) == before:
            return value
    raise ValueError("a parser asks for ever more fields")


def _add_sample(value: dict[str, Json], ask: Ask) -> bool:
    """Puts the field in; a field that was put in as known and read since gets a sample of its form."""
    parent = _look(value, ask.path)
    if not ask.name or parent is None:
        return False
    sample = _sample(ask)
    if ask.name in parent and (parent[ask.name] != {} or sample == {}):
        return False
    parent[ask.name] = sample
    return True


def _add_known(value: dict[str, Json], ask: Ask) -> bool:
    """Fields that a parser reads only where they are there."""
    parent = _look(value, ask.path)
    if ask.form is not Form.ONLY or parent is None:
        return False
    missing = [word for word in ask.words if word not in parent]
    parent.update({word: {} for word in missing})
    return bool(missing)


def _sample(ask: Ask) -> Json:
    match ask.form:
        case Form.TEXT:
            return SAMPLES.get(ask.name, "x")
        case Form.TEXTS:
            return ["x"]
        case Form.WHOLE:
            return ask.low
        case Form.FLAG:
            return True
        case Form.CHOICE:
            return ask.words[0]
        case Form.OBJECTS:
            return [{}]
        case Form.OBJECT | Form.TEXT_MAP | Form.ANY | Form.ONLY | Form.REQUIRED:
            return {}


def _open_objects(asked: Mapping[Ask, None]) -> list[str]:
    """Objects of which the parser did not say what they hold."""
    closed = {ask.path for ask in asked if ask.form is Form.ONLY}
    objects = [_join(ask.path, ask.name) for ask in asked if ask.form is Form.OBJECT]
    return [path for path in objects if path not in closed]


def _add_any_key(value: dict[str, Json], path: str) -> bool:
    found = _look(value, path)
    if found is None or ANY_KEY in found:
        return False
    found[ANY_KEY] = {}
    return True


def _set(value: dict[str, Json], ask: Ask, word: str) -> None:
    parent = _look(value, ask.path)
    if parent is not None:
        parent[ask.name] = word


def _look(value: Json, path: str) -> dict[str, Json] | None:
    """The object at a path; None where there is none."""
    for name, index in _steps(path):
        if isinstance(value, dict) and name:
            value = value.get(name)
        elif isinstance(value, list) and index and int(index) < len(value):
            value = value[int(index)]
        else:
            return None
    return value if isinstance(value, dict) else None


def _steps(path: str) -> Iterator[tuple[str, str]]:
    return ((found[1] or "", found[2] or "") for found in _STEP.finditer(path))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _assemble(path: str, asked: Mapping[Ask, None], form: Form = Form.OBJECT) -> Shape:
    """The object at `path`, or the entries of the list there, from everything that was asked of it."""
    shape = Shape(form)
    at = path if form is Form.OBJECT else f"{path}[0]"
    own = [ask for ask in asked if ask.path == at]
    for ask in own:
        match ask.form:
            case Form.ONLY:
                shape.closed = True
                shape.known = tuple(dict.fromkeys((*shape.known, *ask.words)))
            case Form.REQUIRED:
                shape.required = tuple(dict.fromkeys((*shape.required, *ask.words)))
            case _:
                before = shape.fields.get(ask.name)
                if before is None or _STRONGER[ask.form] > _STRONGER[before.form]:
                    shape.fields[ask.name] = _field(_join(at, ask.name), ask, asked)
    if shape.closed:  # a parser may ask for more than it lets in
        shape.fields = {name: found for name, found in shape.fields.items() if name in shape.known}
    if ANY_KEY in shape.fields and not shape.closed:
        shape.values = shape.fields.pop(ANY_KEY)
    return shape


def _field(path: str, ask: Ask, asked: Mapping[Ask, None]) -> Shape:
    if ask.form in (Form.OBJECT, Form.OBJECTS):
        return _assemble(path, asked, ask.form)
    return Shape(ask.form, ask.words, ask.low, ask.high)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A grown document, in which one field at a time is given another value."""

    parse: Parse
    value: dict[str, Json]

    def accepts(self, path: str, name: str, value: Json) -> bool:
        """No error at the field itself nor inside it."""
        changed = copy.deepcopy(self.value)
        parent = _look(changed, path)
        if parent is None:
            return False
        parent[name] = value
        here = _join(path, name)
        return not any(p.is_error and p.path.startswith(here) for p in self.parse(Document(changed))[1])


def _try(trial: _Trial, path: str, shape: Shape) -> None:
    inside = f"{path}[0]" if shape.form is Form.OBJECTS else path
    for name in [name for name in shape.known if name not in shape.fields]:
        if any(trial.accepts(inside, name, value) for value in _ANYTHING):
            shape.fields[name] = Shape(Form.ANY)
    named = dict(shape.fields)
    if shape.values is not None:
        named[ANY_KEY] = shape.values
    for name, found in named.items():
        found.nullable = trial.accepts(inside, name, None)
        found.not_empty = found.form in (Form.TEXTS, Form.OBJECTS) and not trial.accepts(inside, name, [])
        _try(trial, _join(inside, name), found)
