"""The files of `pylis policy test`: PolicyTest documents and the resources they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from controlplane.resources.read import read_paths
from policies import codes, policy_test
from policies.document import Document
from policies.policy_test import PolicyTest
from policies.problem import Origin, Problem


def read_tests(files: Sequence[str]) -> tuple[list[PolicyTest], list[Problem]]:
    """Every PolicyTest in the files, and all errors of all of them."""
    tests, problems = list[PolicyTest](), list[Problem]()
    for file in files:
        documents, found = read_paths([file])
        problems += found
        if not documents and not found:
            problems.append(Problem(codes.MISSING, "", "holds no document", origin=Origin(file)))
        for document in documents:
            resources, found = read_resources(document)
            test, more = policy_test.parse(document, resources)
            problems += [*found, *more]
            if test is not None:
                tests.append(test)
    return tests, [problem for problem in problems if problem.is_error]


def read_resources(document: Document) -> tuple[list[Document], list[Problem]]:
    """The documents of `spec.resourceFiles`, whose patterns start at the folder of the document."""
    documents, problems = list[Document](), list[Problem]()
    for index, (pattern, files) in enumerate(_resource_paths(document)):
        if not files:
            path, folder = f"spec.resourceFiles[{index}]", Path(document.file).parent
            problems.append(
                document.problem(codes.NOT_FOUND, path, f"no file is {pattern}", f"looked in {folder}")
            )
        found, more = read_paths(files)
        documents += found
        problems += more
    return documents, problems


def files_read(files: Sequence[str]) -> list[Path]:
    """The test files and, as far as they can be read, the files that they name."""
    found = [Path(file) for file in files]
    for file in files:
        for document in read_paths([file])[0]:
            found += [path for _, paths in _resource_paths(document) for path in paths]
    return found


def _resource_paths(document: Document) -> list[tuple[str, list[Path]]]:
    """Each pattern of `spec.resourceFiles` with the files it finds."""
    folder = Path(document.file).parent
    return [
        (pattern, [Path(pattern)] if Path(pattern).is_absolute() else sorted(folder.glob(pattern)))
        for pattern in policy_test.resource_files(document)
    ]
