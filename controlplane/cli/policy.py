"""`pylis policy`: what can be asked of policies in files. The answers are made in `policies`."""

from __future__ import annotations

from typing import Final

import click

from controlplane.cli.lazy import LazyCommands, Table

COMMANDS: Final[Table] = {
    "test": ("controlplane.cli.policy_test:policy_test", "Run PolicyTest documents."),
    "lint": ("controlplane.cli.policy_lint:policy_lint", "What is valid and probably not meant."),
    "diff": (
        "controlplane.cli.policy_diff:policy_diff",
        "Who gains or loses what between two sets of policies.",
    ),
}


@click.command(cls=LazyCommands, table=COMMANDS)
def policy() -> None:
    """Test, lint, compare and describe policies. All of it offline: files in, answers out."""
