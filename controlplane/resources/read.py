"""Files → Documents that know their lines, with every problem found on the way (an edge: it reads files).

How YAML text becomes JSON values stands in `yaml_text`; what a kind means stands with the kind.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from controlplane.resources import kinds, yaml_text
from controlplane.resources.yaml_text import read_text as read_text
from policies import codes
from policies.document import Document
from policies.fields import DEFAULT_NAMESPACE
from policies.problem import Origin, Problem

SUFFIXES: Final = (".yaml", ".yml", ".json")
MAX_BYTES: Final = 10 * 1024 * 1024


def read_paths(paths: Iterable[str | Path]) -> tuple[list[Document], list[Problem]]:
    """Files, directories (their YAML and JSON, sorted) and `-` for standard input."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for path in paths:
        for name, text in _texts(str(path), problems):
            found, wrong = yaml_text.read_text(text, name)
            documents += found
            problems += wrong
    return documents, problems


def check(documents: Sequence[Document]) -> tuple[list[tuple[kinds.Kind, Document]], list[Problem]]:
    """Validates each document and that none defines an object twice; problems in the order of the documents.

    Documents of an unknown kind are problems and left out of what is returned; all others are in it.
    """
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
        namespace = (document.namespace or DEFAULT_NAMESPACE) if kind.namespaced else ""
        key = (kind.resource, namespace, document.name)
        if document.name and key in seen:
            where = seen[key].origin("metadata.name")
            what = f"{namespace}/{document.name}" if namespace else document.name
            text = f"{what} is already defined in {where}"
            problems.append(document.problem(codes.DEFINED_TWICE, "metadata.name", text))
        seen.setdefault(key, document)
    return accepted, problems


def _texts(path: str, problems: list[Problem]) -> Iterator[tuple[str, str]]:
    for file in list_files(path, problems):
        try:
            text = _read(file).decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(_unreadable(file, error))
        else:
            yield file, text


def _read(file: str) -> bytes:
    """Raises: OSError, for a file that is too large as well."""
    if file == "-":
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with Path(file).open("rb") as source:
            data = source.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(0, f"larger than {MAX_BYTES} bytes")
    return data


def list_files(path: str, problems: list[Problem]) -> list[str]:
    """The files that a path means: a directory's YAML and JSON, sorted, else the path itself."""
    where = Path(path)
    if path == "-" or not where.is_dir():
        return [path]
    try:
        return [str(file) for file in sorted(where.iterdir()) if file.suffix in SUFFIXES]
    except OSError as error:
        problems.append(_unreadable(path, error))
        return []


def _unreadable(file: str, error: OSError | UnicodeDecodeError) -> Problem:
    text = (error.strerror if isinstance(error, OSError) else None) or "not UTF-8 text"
    return Problem(codes.UNREADABLE, "", f"cannot be read: {text}", "", Origin(file))
