"""`pylis policy check`: the verdict on one request, in one line."""

from __future__ import annotations

import click

from controlplane.cli.asking import asking
from controlplane.cli.explain_answer import Answer
from controlplane.cli.explain_question import Words
from controlplane.cli.output import Exit, emit, format_option
from policies.document import Json
from policies.wording import describe_decision


@click.command()
@asking
@format_option
@click.pass_context
def policy_check(context: click.Context, answer: Answer, words: Words, output: str) -> None:
    """Decide one request: verdict and rule. Exit code 0: allowed, 1: denied.

    FROM is a workload (orders, shop/orders), a SPIFFE ID or the word plaintext; TO a workload or a service.

    \b
    Example:
      pylis policy check frontend orders --method GET --path /orders/7 -f mesh.yaml
    """
    decision = answer.explanation.decision
    origin = answer.policies.rule_origin(decision.rule)
    found: dict[str, Json] = {
        "allowed": decision.allowed,
        "rule": decision.rule,
        "status": decision.status,
        "file": origin.file or None,
        "line": origin.line or None,
        "because": describe_decision(decision),
    }
    verdict = "ALLOW" if decision.allowed else "DENY"
    place = f"  {origin}" if str(origin) else ""
    emit(found, output, lambda: [f"{verdict}  {decision.rule}{place}  ({describe_decision(decision)})"])
    context.exit(int(Exit.DONE if decision.allowed else Exit.NO))
