"""How commands print and fail: one place maps outcomes to text and exit codes.

Answers go to stdout, progress and hints to stderr. Exit codes: 0 done, 1 the answer is no,
2 bad usage or invalid input, 3 the server cannot be reached or refused us.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
# json comes in as Any

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import IO, Any

import click

from policies.problem import Problem


class Exit(IntEnum):
    DONE = 0
    NO = 1
    INVALID = 2
    UNREACHABLE = 3


class Failure(click.ClickException):
    """A command's end that is the user's to mend: what is wrong, then what to do."""

    def __init__(self, message: str, *, hint: str = "", code: Exit = Exit.INVALID) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = int(code)  # pyright: ignore[reportAttributeAccessIssue] - click sets it so, too

    def show(self, file: IO[str] | None = None) -> None:
        out = file or sys.stderr
        click.echo(self.format_message(), file=out)
        if self.hint:
            click.echo(f"  {self.hint}", file=out)


def fail_with(problems: Sequence[Problem], closing: str) -> Failure:
    """A Failure that lists every problem, worded as `3 problems in 2 files; <closing>`."""
    files = {p.origin.file for p in problems if p.origin.file}
    places = f" in {len(files)} file{'s' * (len(files) != 1)}" if files else ""
    head = f"{len(problems)} problem{'s' * (len(problems) != 1)}{places}; {closing}"
    return Failure("\n".join([head, *(f"  {p}" for p in problems)]))


def formats(*more: str) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """The `-o table|json|yaml` of a command that prints data, and what else it can print, as parameter `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json", "yaml", *more]),
        default="table",
        show_default=True,
        help="How to print the answer.",
    )


def format_option(function: Callable[..., object]) -> Callable[..., object]:
    """`formats` of the commands that print nothing else."""
    return formats()(function)


def emit(data: Any, output: str, table: Callable[[], Iterable[str]]) -> None:
    """Prints `data` as JSON or YAML, or the lines of `table()`."""
    match output:
        case "json":
            click.echo(to_json(data))
        case "yaml":
            import yaml

            click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
        case _:
            for line in table():
                click.echo(line)


def to_json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table with a header; see `aligned`."""
    return aligned([header, *rows])


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Left-aligned columns, two blanks apart; the last is never padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell if i == len(widths) - 1 else cell.ljust(widths[i]) for i, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def colour_wanted() -> bool:
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
