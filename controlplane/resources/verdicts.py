"""What the API would say to each document of some files, in their order. Pure.

Every kind the API knows is judged by the parser the API uses; PolicyTest and mesh.yaml, which only files hold,
by theirs. Text that is no YAML has a verdict of its own, where it stands. An object that stands twice is a
warning here: each document is judged by itself, and the API would take the second as a change of the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane.local import mesh_file
from controlplane.resources import kinds
from policies import codes, policy_test
from policies.document import Document, Json
from policies.fields import DEFAULT_NAMESPACE
from policies.problem import Origin, Problem, Severity

MESH_FILE = "mesh.yaml"

ReadResources = Callable[[Document], tuple[list[Document], list[Problem]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`kind`, `namespace` and `name` are "" where nothing was read."""

    kind: str = ""
    namespace: str = ""
    name: str = ""
    problems: tuple[Problem, ...] = ()
    origin: Origin = Origin()

    @property
    def valid(self) -> bool:
        return not any(problem.is_error for problem in self.problems)

    def to_json(self) -> dict[str, Json]:
        return {
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "valid": self.valid,
            "problems": [problem_json(problem) for problem in self.problems],
        }


def problem_json(problem: Problem) -> dict[str, Json]:
    """A problem as every command prints it with -o json."""
    return {
        "code": problem.code,
        "path": problem.path,
        "file": problem.origin.file,
        "line": problem.origin.line,
        "message": problem.message,
        "hint": problem.hint,
        "severity": str(problem.severity),
    }


def judge_file(
    documents: Sequence[Document], problems: Sequence[Problem], resources_of: ReadResources
) -> list[Verdict]:
    """The verdicts of one file: `documents` and `problems` as reading gave them.

    `resources_of` reads the files that a PolicyTest names.
    """
    inside: Mapping[int, list[Problem]] = {index: [] for index in range(len(documents))}
    apart = list[Problem]()
    for problem in problems:
        index = _document_of(documents, problem)
        (apart if index is None else inside[index]).append(problem)
    verdicts = [_judge(document, inside[i], resources_of) for i, document in enumerate(documents)]
    return [*verdicts, *(Verdict(problems=(problem,)) for problem in apart)]


def mark_repeated(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """The same verdicts, with a warning where an object was defined before."""
    seen = dict[tuple[str, str, str], Origin]()
    marked = list[Verdict]()
    for verdict in verdicts:
        key = (verdict.kind, verdict.namespace, verdict.name)
        if verdict.name and key in seen:
            what = f"{verdict.namespace}/{verdict.name}".removeprefix("/")
            text = f"{what} is already defined in {seen[key]}"
            hint = "apply refuses files that define an object twice"
            twice = Problem(
                codes.DEFINED_TWICE, "metadata.name", text, hint, verdict.origin, Severity.WARNING
            )
            verdict = replace(verdict, problems=(*verdict.problems, twice))
        seen.setdefault(key, verdict.origin)
        marked.append(verdict)
    return marked


def _judge(document: Document, before: Sequence[Problem], resources_of: ReadResources) -> Verdict:
    kind, found = _parse(document, resources_of)
    namespaced = next((k.namespaced for k in kinds.KINDS if k.kind == kind), False)
    namespace = document.namespace or (DEFAULT_NAMESPACE if namespaced else "")
    return Verdict(kind, namespace, document.name, (*before, *found), document.origin("metadata.name"))


def _parse(document: Document, resources_of: ReadResources) -> tuple[str, list[Problem]]:
    known = kinds.by_api_version(document.api_version, document.kind)
    if known is None and "kind" not in document.value and "workloads" in document.value:
        return MESH_FILE, mesh_file.parse(document)[1]
    if document.kind == policy_test.KIND and document.api_version == policy_test.API_VERSION:
        resources, problems = resources_of(document)
        return document.kind, [*problems, *policy_test.parse(document, resources)[1]]
    return document.kind, kinds.parse(document)[1]


def _document_of(documents: Sequence[Document], problem: Problem) -> int | None:
    """The document whose field a problem of the text is about; None: text that became no document."""
    if not problem.path:
        return None
    for index, document in enumerate(documents):
        if document.lines.get(problem.path) == problem.origin.line:
            return index
    return None
