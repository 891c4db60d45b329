"""Comments that suppress findings: `# pylis: ignore PYL1311` on the line, or alone on the line above it.

`# pylis: ignore-file PYL1316` anywhere suppresses in the whole file. Codes are separated by commas; without a code
nothing is suppressed: what is not meant must be named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from policies.problem import Problem

_COMMENT: Final = re.compile(r"#\s*pylis:\s*(ignore|ignore-file)\s+(PYL\d{4}(?:\s*,\s*PYL\d{4})*)", re.ASCII)


def is_suppressed(problem: Problem, texts: Mapping[str, Sequence[str]]) -> bool:
    """`texts`: the lines of each file."""
    lines = texts.get(problem.origin.file, ())
    here = problem.origin.line
    if any(problem.code in _codes(line, "ignore-file") for line in lines):
        return True
    if not 0 < here <= len(lines):
        return False
    if problem.code in _codes(lines[here - 1], "ignore"):
        return True
    above = here - 2
    while above >= 0 and lines[above].lstrip().startswith("#"):
        if problem.code in _codes(lines[above], "ignore"):
            return True
        above -= 1
    return False


def _codes(line: str, word: str) -> list[str]:
    found = _COMMENT.search(line)
    return re.split(r"\s*,\s*", found[2]) if found and found[1] == word else []
