"""`pylis explain`: which rule decides a request, and why the others do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from controlplane.cli.client import Client, options
from controlplane.cli.output import Exit, emit, format_option


@click.command()
@click.argument("caller", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--method", default="", help="HTTP method.  [default: GET]")
@click.option("--path", default="", help="Path as sent, query and all.  [default: /]")
@click.option("--host", default="", help="Host header.  [default: the service's]")
@click.option("--header", "headers", multiple=True, metavar="K=V", help="A request header; may be repeated.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Service port.  [default: its first]")
@click.option("--source-ip", default="", help="The caller's address.  [default: the workload's]")
@click.option(
    "-f", "--file", "files", multiple=True, type=click.Path(exists=True), help="Ask files, not a server."
)
@click.option("--trust-domain", default="", help="Of the mesh in the files.  [default: cluster.local]")
@format_option
@options
@click.pass_context
def explain(
    context: click.Context,
    caller: str,
    target: str,
    files: tuple[str, ...],
    headers: tuple[str, ...],
    trust_domain: str,
    output: str,
    client: Callable[[], Client],
    **words: Any,
) -> None:
    """Say which rule decides a request from FROM to TO, and why.

    FROM is a workload (orders, shop/orders), a SPIFFE ID or the word plaintext; TO a workload or a service.
    Exit code 0: allowed, 1: denied.

    \b
    Example:
      pylis explain intruder orders --method GET --path /orders/7
    """
    from controlplane.cli.explain_answer import answer
    from controlplane.cli.explain_question import Words, ask, read_headers
    from controlplane.cli.mesh_source import fetch_mesh, read_mesh

    typed = Words(caller, target, headers=read_headers(headers), **words)
    mesh = read_mesh(files, trust_domain) if files else fetch_mesh(client, trust_domain)
    found = answer(mesh, ask(mesh, typed))
    emit(found.to_json(), output, found.lines)
    context.exit(int(Exit.DONE if found.explanation.decision.allowed else Exit.NO))
