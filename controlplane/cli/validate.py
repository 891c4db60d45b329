"""`pylis validate`: what the API would refuse, said without one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from controlplane.cli.output import Exit, emit, fail_with, format_option
from policies.problem import Problem

if TYPE_CHECKING:
    from controlplane.resources.verdicts import Verdict


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@format_option
@click.pass_context
def validate(context: click.Context, files: tuple[str, ...], output: str) -> None:
    """Say what the API would refuse, offline: every document of the files, in order.

    FILE is a file, a directory, or - for standard input; every kind is known, PolicyTest and mesh.yaml too.
    Exit code 0: all valid (warnings may be printed), 2: one is not.

    \b
    Example:
      pylis validate policies/ mesh.yaml
      git diff --name-only --cached -- '*.yaml' | xargs pylis validate
    """
    from controlplane.cli.policy_files import read_resources
    from controlplane.resources.read import list_files, read_paths
    from controlplane.resources.verdicts import Verdict, judge_file, mark_repeated

    verdicts, missing = list[Verdict](), list[Problem]()
    for path in files:
        for file in list_files(path, missing):
            verdicts += judge_file(*read_paths([file]), read_resources)
    if missing:
        raise fail_with(missing, "nothing was validated.")
    verdicts = mark_repeated(verdicts)
    emit({"results": [verdict.to_json() for verdict in verdicts]}, output, lambda: _lines(verdicts))
    context.exit(int(Exit.DONE if all(verdict.valid for verdict in verdicts) else Exit.INVALID))


def _lines(verdicts: Sequence[Verdict]) -> list[str]:
    """Every problem, then the counts."""
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    invalid = sum(not verdict.valid for verdict in verdicts)
    words = ("warning: " * (not problem.is_error) + str(problem) for problem in problems)
    return [*words, f"{len(verdicts) - invalid} valid, {invalid} invalid"]
