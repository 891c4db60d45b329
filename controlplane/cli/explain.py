"""`pylis explain`: which rule decides a request, and why the others do not."""

from __future__ import annotations

import shlex
import sys

import click

from controlplane.cli.asking import asking
from controlplane.cli.explain_answer import Answer
from controlplane.cli.explain_question import Words
from controlplane.cli.output import Exit, emit, format_option
from policies.program import DEFAULT_DENY


@click.command()
@asking
@format_option
@click.pass_context
def explain(context: click.Context, answer: Answer, words: Words, output: str) -> None:
    """Say which rule decides a request from FROM to TO, and why no other does.

    FROM is a workload (orders, shop/orders), a SPIFFE ID or the word plaintext; TO a workload or a service.
    Exit code 0: allowed, 1: denied.

    \b
    Example:
      pylis explain intruder orders --method GET --path /orders/7
      pylis explain frontend orders -f mesh.yaml
    """
    emit(answer.to_json(), output, lambda: [*answer.lines(), *_suggest_line(answer)])
    context.exit(int(Exit.DONE if answer.explanation.decision.allowed else Exit.NO))


def _suggest_line(answer: Answer) -> list[str]:
    """The command that writes the rule, where one more rule would do."""
    decision = answer.explanation.decision
    denied_by_rule = "[" in decision.rule and not decision.asked
    if decision.allowed or not (decision.rule == DEFAULT_DENY or denied_by_rule):
        return []
    name = f"{answer.question.target.entry.name}-{answer.question.caller}.yaml".replace("/", "-")
    typed = shlex.join(["pylis", "policy", "suggest", *sys.argv[2:]])
    return [f"  or let the smallest rule be written:  {typed} > {name}"]
