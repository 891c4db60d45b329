"""`pylis policy`: what can be asked of policies in files. The answers are made in `policies`."""

from __future__ import annotations

from typing import Final

import click

from controlplane.cli.lazy import LazyCommands, Table

COMMANDS: Final[Table] = {
    "test": ("controlplane.cli.policy_test:policy_test", "Run PolicyTest documents."),
    "check": ("controlplane.cli.policy_check:policy_check", "Decide one request: verdict and rule."),
    "suggest": (
        "controlplane.cli.policy_suggest:policy_suggest",
        "The smallest rule that would allow a refused request.",
    ),
    "describe": ("controlplane.cli.policy_describe:policy_describe", "Who may do what, in prose."),
    "lint": ("controlplane.cli.policy_lint:policy_lint", "What is valid and probably not meant."),
    "diff": (
        "controlplane.cli.policy_diff:policy_diff",
        "Who gains or loses what between two sets of policies.",
    ),
}


@click.command(cls=LazyCommands, table=COMMANDS)
def policy() -> None:
    """Test, lint, compare and describe policies. Files in, answers out; most ask a server, too."""
