"""`pylis get`: resources as a table, JSON or YAML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from controlplane.cli.client import Client, collection, options
from controlplane.cli.output import Failure, columns, emit, format_option


@click.command()
@click.argument("kind")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-A", "--all-namespaces", is_flag=True)
@click.option("-l", "--selector", default="", help="Only objects with these labels.")
@format_option
@options
def get(
    kind: str, name: str, namespace: str, all_namespaces: bool, selector: str, output: str, client: Callable[[], Client]
) -> None:
    """Show resources.

    \b
    Example:
      pylis get authorizationpolicies -A
    """
    from controlplane.resources import kinds

    found = kinds.by_word(kind)
    if found is None:
        raise Failure(f'"{kind}" is no kind', hint=f"known: {', '.join(k.plural for k in kinds.KINDS)}")
    scope = namespace if found.namespaced and not all_namespaces else None
    path = collection(found.api_version, found.plural, scope)
    query = f"?labelSelector={selector}" if selector else ""
    connected = client()
    target = f"{path}/{name}" if name else f"{path}{query}"
    if output != "table":
        emit(connected.request("GET", target), output, list)
        return
    table: dict[str, Any] = connected.request("GET", target, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    rows = [
        [*([row["object"]["metadata"].get("namespace", "")] if all_namespaces and found.namespaced else []), *map(str, row["cells"])]
        for row in table["rows"]
    ]
    if not rows:
        click.echo("nothing found", err=True)
        return
    header = [c["name"].upper() for c in table["columnDefinitions"]]
    for line in columns([*(["NAMESPACE"] if all_namespaces and found.namespaced else []), *header], rows):
        click.echo(line)
