"""Files → Documents that know their lines, with every problem found on the way (an edge: it reads files).

YAML by the safe loader's nodes only: no tags, no bombs (aliases are refused), no duplicate keys.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from controlplane.resources import kinds
from policies import codes
from policies.document import Document, Json
from policies.problem import Origin, Problem

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_BYTES: Final = 10 * 1024 * 1024
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_resolver = yaml.SafeLoader("")


def read_paths(paths: Iterable[str | Path]) -> tuple[list[Document], list[Problem]]:
    """Files, directories (their YAML and JSON, sorted) and `-` for standard input."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for path in paths:
        for name, text in _texts(str(path), problems):
            found, wrong = read_text(text, name)
            documents += found
            problems += wrong
    return documents, problems


def check(documents: Sequence[Document]) -> tuple[list[tuple[kinds.Kind, Document]], list[Problem]]:
    """Validates each document and that none defines an object twice; problems in the order of the documents."""
    problems: list[Problem] = []
    accepted: list[tuple[kinds.Kind, Document]] = []
    seen: dict[tuple[str, str, str], Document] = {}
    for document in documents:
        _, found = kinds.parse(document)
        problems += found
        kind = kinds.by_api_version(document.api_version, document.kind)
        if kind is None:
            continue
        accepted.append((kind, document))
        key = (kind.resource, document.namespace or "default", document.name)
        if document.name and key in seen:
            where = seen[key].origin("metadata.name")
            text = f"{key[1]}/{key[2]} is already defined in {where}"
            problems.append(document.problem(codes.DEFINED_TWICE, "metadata.name", text))
        seen.setdefault(key, document)
    return accepted, problems


def read_text(text: str, name: str) -> tuple[list[Document], list[Problem]]:
    """All documents of one YAML or JSON text."""
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            lines: dict[str, int] = {}
            value = _value(node, "", lines, name, problems)
            if isinstance(value, dict):
                documents.append(Document(value, name, lines))
            elif value is not None:
                text_ = "a resource must be an object"
                problems.append(Problem(codes.UNREADABLE, "", text_, "", Origin(name, _line(node))))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        problems.append(Problem(codes.UNREADABLE, "", str(error.problem), "", Origin(name, line)))
    except (yaml.YAMLError, RecursionError) as error:
        problems.append(Problem(codes.UNREADABLE, "", str(error).splitlines()[0], "", Origin(name)))
    return documents, problems


def _texts(path: str, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "-", sys.stdin.read()
        return
    where = Path(path)
    files = sorted(f for f in where.iterdir() if f.suffix in SUFFIXES) if where.is_dir() else [where]
    for file in files:
        try:
            if file.stat().st_size > MAX_BYTES:
                raise OSError(0, f"larger than {MAX_BYTES} bytes")
            yield str(file), file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            text = getattr(error, "strerror", None) or "not UTF-8 text"
            problems.append(Problem(codes.UNREADABLE, "", f"cannot be read: {text}", "", Origin(str(file))))


def _value(node: Any, path: str, lines: dict[str, int], name: str, problems: list[Problem], seen: frozenset[int] = frozenset()) -> Json:
    lines[path] = _line(node)
    if id(node) in seen or len(seen) > 100:
        problems.append(Problem(codes.UNREADABLE, path, "nests too deep", "", Origin(name, _line(node))))
        return None
    inside = seen | {id(node)}
    match node:
        case yaml.MappingNode():
            result: dict[str, Json] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                child = f"{path}.{key}" if path else key
                if key in result:
                    text = f'"{key}" stands twice'
                    problems.append(Problem(codes.DEFINED_TWICE, child, text, "", Origin(name, _line(key_node))))
                result[key] = _value(value_node, child, lines, name, problems, inside)
                lines[child] = _line(key_node)
            return result
        case yaml.SequenceNode():
            return [_value(item, f"{path}[{i}]", lines, name, problems, inside) for i, item in enumerate(node.value)]
        case yaml.ScalarNode():
            return _scalar(node)
        case _:
            return None


def _scalar(node: Any) -> Json:
    value: Any = _resolver.construct_object(node, deep=True)  # type: ignore[no-untyped-call] - PyYAML has no types
    _resolver.constructed_objects.clear()
    return value if value is None or isinstance(value, bool | int | float | str) else str(node.value)


def _line(node: Any) -> int:
    return node.start_mark.line + 1
