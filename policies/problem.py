"""What is wrong with something a user wrote, as a value.

Parsers collect problems and go on, so that a file with ten mistakes is answered with ten lines.
Nothing here reads files or prints; where a document came from travels in `Origin`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"  # worth knowing, and right in many places


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a piece of a resource stands: `file` as the user named it, `line` 1-based (0: unknown)."""

    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        if not self.file:
            return ""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: a stable `code` (PYL####), the field `path` (`spec.rules[0].to[0]`), what is wrong, what to do."""

    code: str
    path: str
    message: str
    hint: str = ""
    origin: Origin = Origin()
    severity: Severity = Severity.ERROR

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        text = "  ".join(part for part in (str(self.origin), self.path, self.code, self.message) if part)
        return f"{text}; {self.hint}" if self.hint else text
