"""The files of `pylis policy test`: PolicyTest documents and the resources they name, with their lines.

JSON is read by the JSON parser, and its lines are looked up only when a problem is to be shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from policies import codes, policy_test
from policies.document import Document, Json
from policies.fields import step
from policies.policy_test import PolicyTest
from policies.problem import Origin, Problem


def read_tests(files: Sequence[str]) -> tuple[list[PolicyTest], list[Problem]]:
    """Every PolicyTest in the files, and all problems of all of them."""
    tests, problems = list[PolicyTest](), list[Problem]()
    for file in files:
        documents, found = _read(Path(file))
        problems += found
        if not documents and not found:
            problems.append(Problem(codes.MISSING, "", "holds no document", origin=Origin(file)))
        for document in documents:
            resources, found = _read_resources(document)
            test, more = policy_test.parse(document, resources)
            problems += [*found, *more]
            if test is not None:
                tests.append(test)
    return tests, [problem for problem in problems if problem.is_error]


def _read_resources(document: Document) -> tuple[list[Document], list[Problem]]:
    documents, problems = list[Document](), list[Problem]()
    folder = Path(document.file).parent
    for index, pattern in enumerate(policy_test.resource_files(document)):
        files = [Path(pattern)] if Path(pattern).is_absolute() else sorted(folder.glob(pattern))
        if not files:
            path = f"spec.resourceFiles[{index}]"
            problems.append(
                document.problem(codes.NOT_FOUND, path, f"no file is {pattern}", f"looked in {folder}")
            )
        for file in files:
            found, more = _read(file)
            documents += found
            problems += more
    return documents, problems


def _read(file: Path) -> tuple[list[Document], list[Problem]]:
    if file.suffix != ".json":
        from controlplane.resources.read import read_paths  # YAML with lines: slower to import, often not needed

        documents, problems = read_paths([str(file)])
        return list(documents), list(problems)
    try:
        text = file.read_text(encoding="utf-8")
        value: Any = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 0
        return [], [Problem(codes.UNREADABLE, "", str(error), origin=Origin(str(file), line))]
    if not isinstance(value, dict):
        return [], [Problem(codes.WRONG_TYPE, "", "must be an object", origin=Origin(str(file), 1))]
    return [Document(cast("dict[str, Json]", value), str(file), _JsonLines(text))], []


class _JsonLines(Mapping[str, int]):
    """Field path → line, worked out on the first question (JSON is YAML)."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines: dict[str, int] | None = None

    def _found(self) -> dict[str, int]:
        if self._lines is None:
            try:
                root = cast("yaml.Node", yaml.compose(self._text, Loader=yaml.CSafeLoader))
                self._lines = dict(_lines(root, ""))
            except yaml.YAMLError:  # JSON that YAML does not take, such as some escapes: no lines then
                self._lines = {}
        return self._lines

    def __getitem__(self, path: str) -> int:
        return self._found()[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found())

    def __len__(self) -> int:
        return len(self._found())


def _lines(node: yaml.Node, path: str) -> Iterator[tuple[str, int]]:
    yield path, cast("int", node.start_mark.line) + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            here = step(path, str(cast("object", key.value)))
            yield from _lines(value, here)
            yield here, cast("int", key.start_mark.line) + 1
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(cast("list[yaml.Node]", node.value)):
            yield from _lines(value, step(path, index))
