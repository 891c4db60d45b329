"""A parsed YAML or JSON object that still knows its lines.

Readers (edges) make Documents; parsers (pure) ask them for values and say problems with the right file:line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policies.asked import Ask
from policies.problem import Origin, Problem, Severity

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True)
class Document:
    """`value` is the object as plain JSON; `lines` maps field paths (`spec.rules[0]`, "" for the whole) to lines."""

    value: dict[str, Json]
    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict[str, int])
    asked: list[Ask] | None = field(default=None, compare=False, repr=False)  # see policies.asked

    def origin(self, path: str = "") -> Origin:
        """The line of `path`, or of its nearest parent that has one."""
        here = path
        while here and here not in self.lines:
            cut = max(here.rfind("."), here.rfind("["))
            here = here[:cut] if cut > 0 else ""
        return Origin(self.file, self.lines.get(here, 0))

    def problem(
        self, code: str, path: str, message: str, hint: str = "", severity: Severity = Severity.ERROR
    ) -> Problem:
        return Problem(code, path, message, hint, self.origin(path), severity)

    @property
    def kind(self) -> str:
        return _text(self.value.get("kind"))

    @property
    def api_version(self) -> str:
        return _text(self.value.get("apiVersion"))

    @property
    def metadata(self) -> dict[str, Json]:
        metadata = self.value.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    @property
    def name(self) -> str:
        return _text(self.metadata.get("name"))

    @property
    def namespace(self) -> str:
        return _text(self.metadata.get("namespace"))


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""
