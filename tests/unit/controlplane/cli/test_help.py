"""Every command says what it does, with an example, and loads only when it is called."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from controlplane.cli import main


def commands(group: click.Group, names: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from commands(found, (*names, name))
        else:
            yield *names, name


@pytest.mark.parametrize("names", list(commands(main)), ids=" ".join)
def test_help_has_an_example(names: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*names, "--help"])
    assert result.exit_code == 0
    assert "Example" in result.stdout
    assert f"pylis {' '.join(names)}" in result.stdout
