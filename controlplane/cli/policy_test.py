"""`pylis policy test`: expectations about requests, held or not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from controlplane.cli.output import Exit, Failure, columns, emit, fail_with, formats
from policies.coverage import Coverage, cover
from policies.document import Json
from policies.judge import Result, run

if TYPE_CHECKING:
    from policies.policy_test import PolicyTest


@click.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE…", type=click.Path(exists=True, dir_okay=False)
)
@formats("junit")
@click.option("--coverage", "with_coverage", is_flag=True, help="Name the rules that decided no request.")
@click.option("--watch", is_flag=True, help="Run again whenever a file changes, until Ctrl-C.")
@click.pass_context
def policy_test(
    context: click.Context, files: tuple[str, ...], output: str, with_coverage: bool, watch: bool
) -> None:
    """Run PolicyTest documents (YAML or JSON) offline.

    Exit code 0: all held; 1: one did not; 2: invalid document.

    \b
    Example:
      pylis policy test policies/tests/*.yaml
      pylis policy test policies/tests/*.yaml --coverage
      pylis policy test policies/tests/*.yaml -o junit > report.xml
    """
    if watch:
        _watch(files, output, with_coverage)
        return
    report = _run(files, with_coverage)
    _print(report, output)
    context.exit(int(Exit.DONE if report.held else Exit.NO))


@dataclass(frozen=True, slots=True)
class _Report:
    results: Sequence[Result]
    coverage: Coverage | None

    @property
    def held(self) -> bool:
        return all(result.ok for result in self.results)

    @property
    def failed(self) -> int:
        return sum(not result.ok for result in self.results)

    def to_json(self) -> dict[str, Json]:
        listed: list[Json] = [result.to_json() for result in self.results]
        found: dict[str, Json] = {
            "passed": len(self.results) - self.failed,
            "failed": self.failed,
            "results": listed,
        }
        return {**found, "coverage": self.coverage.to_json()} if self.coverage else found

    def lines(self) -> list[str]:
        """What did not hold, what was never asked, then the counts."""
        rows = [(r.test, r.id, r.expect, r.actual, detail(r)) for r in self.results if not r.ok]
        head = columns(("TEST", "REQUEST", "EXPECTED", "ACTUAL", "BECAUSE"), rows) if rows else []
        cover_lines = self.coverage.lines() if self.coverage else []
        return [*head, *cover_lines, f"{len(self.results) - self.failed} passed, {self.failed} failed"]


def _run(files: Sequence[str], with_coverage: bool) -> _Report:
    """Raises: Failure with every problem of the files."""
    from controlplane.cli.policy_files import read_tests

    tests, problems = read_tests(files)
    if problems:
        raise fail_with(problems, "nothing was tested.")
    ran: list[tuple[PolicyTest, list[Result]]] = [(test, run(test, time.time())) for test in tests]
    results = [result for _, own in ran for result in own]
    return _Report(results, cover(ran) if with_coverage else None)


def _print(report: _Report, output: str) -> None:
    if output == "junit":
        from controlplane.cli.junit import to_junit

        click.echo(to_junit(report.results))
    else:
        emit(report.to_json(), output, report.lines)


def _watch(files: Sequence[str], output: str, with_coverage: bool) -> None:
    from controlplane.cli.policy_files import files_read
    from controlplane.cli.watching import stamp, wait_for_change

    try:
        while True:
            seen = stamp(files_read(files))
            try:
                _print(_run(files, with_coverage), output)
            except Failure as failure:
                failure.show()
            click.echo("watching; Ctrl-C ends.", err=True)
            wait_for_change(seen, lambda: files_read(files))
    except KeyboardInterrupt:
        click.echo("ended.", err=True)


def detail(result: Result) -> str:
    """Why a request was answered as it was."""
    tried = "".join(f", dry run {action}: {verdict}" for action, verdict in result.dry_run)
    return f"{result.rule} ({result.status}){tried}" if result.status else f"{result.rule}{tried}"
