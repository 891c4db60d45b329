"""`pylis completion`: a script that completes verbs and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from controlplane.cli.output import Failure


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a completion script.

    \b
    Example:
      source <(pylis completion bash)
    """
    from controlplane.cli import main

    found = get_completion_class(shell)
    if found is None:
        raise Failure(f"{shell} is not known")
    click.echo(found(main, {}, "pylis", "_PYLIS_COMPLETE").source())
