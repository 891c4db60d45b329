"""A document inside another one (`spec.resources[3]`) that still knows the outer file's lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from policies.document import Document, Json
from policies.problem import Problem


@dataclass(frozen=True, slots=True)
class _LinesUnder(Mapping[str, int]):
    """Looks a path up in the outer lines only when it is asked for: outer lines may be costly to find."""

    outer: Mapping[str, int]
    path: str

    def _full(self, path: str) -> str:
        return f"{self.path}.{path}" if path else self.path

    def __getitem__(self, path: str) -> int:
        return self.outer[self._full(path)]

    def __iter__(self) -> Iterator[str]:
        start = self.path + "."
        return (path.removeprefix(start) for path in self.outer if path.startswith(start))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def nest(outer: Document, path: str, value: dict[str, Json]) -> Document:
    """The object at `path` of `outer` as a document of its own."""
    return Document(value, outer.file, _LinesUnder(outer.lines, path))


def lift(problems: Iterable[Problem], path: str) -> list[Problem]:
    """Problems of a nested document, with the paths they have in the outer one."""
    return [replace(problem, path=f"{path}.{problem.path}" if problem.path else path) for problem in problems]
