"""The environment of users: without the packages that only developers have (structlog imports rich where it is)."""

from __future__ import annotations

import os
from pathlib import Path


def environment(directory: Path) -> dict[str, str]:
    """For child processes; `directory` gets a package that hides `rich` and has to stay while they run."""
    hidden = directory / "hidden" / "rich"
    hidden.mkdir(parents=True, exist_ok=True)
    (hidden / "__init__.py").write_text("raise ImportError")
    return {**os.environ, "PYTHONPATH": str(hidden.parent)}
