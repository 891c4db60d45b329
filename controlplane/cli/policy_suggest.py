"""`pylis policy suggest`: the smallest rule that would allow one refused request, as YAML."""

from __future__ import annotations

import json

import click
import yaml

from controlplane.cli.asking import asking
from controlplane.cli.explain_answer import Answer
from controlplane.cli.explain_question import Words
from controlplane.cli.output import Exit
from policies.request import Request
from policies.suggest import suggest
from policies.wording import describe_decision
from policies.write import write


@click.command()
@asking
@click.option(
    "-o",
    "--output",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="How to print it.",
)
@click.pass_context
def policy_suggest(context: click.Context, answer: Answer, words: Words, output: str) -> None:
    """Print the smallest change that allows a refused request, as policies to apply.

    Where nothing allows it, one more ALLOW policy; where a DENY rule refuses it, that policy without this request.
    A --path that ends with * becomes the rule's path. Exit code 1: allowed already, or beyond policy.

    \b
    Example:
      pylis policy suggest intruder orders --method GET --path '/orders/*' > orders-intruder.yaml
      pylis apply -f orders-intruder.yaml
    """
    request: Request = answer.question.request
    pattern = words.path if words.path.endswith("*") else ""
    found = suggest(answer.policies, answer.asked, request, path=pattern, outside=answer.outside)
    if not found.changed:
        decision = answer.explanation.decision
        why = "it is allowed already" if decision.allowed else describe_decision(decision)
        click.echo(f"nothing to write: {why}.", err=True)
        context.exit(int(Exit.NO))
    objects = [write(policy) for policy in found.changed]
    if output == "json":
        items = objects[0] if len(objects) == 1 else {"apiVersion": "v1", "kind": "List", "items": objects}
        click.echo(json.dumps(items, indent=2, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True), nl=False)
    known = {policy.full_name for policy in answer.policies.authorization}
    for policy in found.changed:
        what = "replaces the policy of that name" if policy.full_name in known else "is new"
        click.echo(f"{policy.full_name} {what}; review it, then: pylis apply -f FILE", err=True)
