"""`pylis policy`: policies tested offline. The answers are made in `policies`; here they are printed."""

from __future__ import annotations

from collections.abc import Sequence

import click

from controlplane.cli.output import Exit, columns, emit, fail_with, format_option
from policies.document import Json
from policies.judge import UNSUPPORTED, Result, run


@click.group()
def policy() -> None:
    """Test policies offline."""


@policy.command("test")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE…", type=click.Path(exists=True, dir_okay=False)
)
@format_option
@click.pass_context
def policy_test(context: click.Context, files: tuple[str, ...], output: str) -> None:
    """Run PolicyTest documents (YAML or JSON).

    Exit code 0: all held; 1: one did not, or is not supported by this version; 2: invalid document.

    Example:  pylis policy test policies/tests/*.yaml
    """
    from controlplane.cli.policy_files import read_tests

    tests, problems = read_tests(files)
    if problems:
        raise fail_with(problems, "nothing was tested.")
    results = [result for test in tests for result in run(test)]
    emit(_to_json(results), output, lambda: _table(results))
    context.exit(int(Exit.DONE if all(result.ok for result in results) else Exit.NO))


def _count(results: Sequence[Result]) -> tuple[int, int, int]:
    passed = sum(result.ok for result in results)
    unsupported = sum(result.actual == UNSUPPORTED for result in results)
    return passed, len(results) - passed - unsupported, unsupported


def _to_json(results: Sequence[Result]) -> dict[str, Json]:
    passed, failed, unsupported = _count(results)
    listed: list[Json] = [result.to_json() for result in results]
    return {"passed": passed, "failed": failed, "unsupported": unsupported, "results": listed}


def _table(results: Sequence[Result]) -> list[str]:
    """What did not hold, then the counts."""
    passed, failed, unsupported = _count(results)
    rows = [
        (result.test, result.id, result.expect, result.actual, _detail(result))
        for result in results
        if not result.ok
    ]
    head = columns(("TEST", "REQUEST", "EXPECTED", "ACTUAL", "BECAUSE"), rows) if rows else []
    return [*head, f"{passed} passed, {failed} failed, {unsupported} unsupported"]


def _detail(result: Result) -> str:
    if result.reason:
        return result.reason
    return f"{result.rule} ({result.status})" if result.status else result.rule
