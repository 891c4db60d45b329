"""`pylis get`: resources as a table, JSON or YAML; `-w` goes on with what changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from controlplane.cli.client import Client, collection, member, options
from controlplane.cli.output import Failure, columns, emit, format_option

_TABLE: Final = "application/json;as=Table;v=v1;g=meta.k8s.io"


@click.command()
@click.argument("kind")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")
@click.option("-l", "--selector", default="", help="Only objects with these labels, for example app=web.")
@click.option("-w", "--watch", is_flag=True, help="Then show each change, until Ctrl-C.")
@format_option
@options
def get(
    kind: str, name: str, namespace: str, all_namespaces: bool, selector: str, watch: bool, output: str,
    client: Callable[[], Client],
) -> None:  # fmt: skip
    """Show resources.

    \b
    Example:
      pylis get authorizationpolicies -A
    """
    from controlplane.resources import kinds

    found = kinds.by_word(kind)
    if found is None:
        raise Failure(f'"{kind}" is no kind', hint=f"known: {', '.join(k.plural for k in kinds.KINDS)}")
    if name and (all_namespaces or selector):
        raise Failure("a name goes with neither -A nor -l", hint=f"pylis get {kind} {name} -n NAMESPACE")
    wide = all_namespaces and found.namespaced
    scope = namespace if found.namespaced and not all_namespaces else None
    query = {"labelSelector": selector, "fieldSelector": f"metadata.name={name}" if name else ""}
    whole = collection(found.api_version, found.plural, scope)
    target = member(found.api_version, found.plural, scope, name) if name else f"{whole}{_query(query)}"
    connected = client()
    if output != "table":
        answer = connected.request("GET", target)
        emit(answer, output, list)
        version = answer["metadata"]["resourceVersion"]
    else:
        table = connected.request("GET", target, accept=_TABLE)
        _print(table, _Layout(wide), watching=watch)
        version = table["metadata"]["resourceVersion"]
    if watch:
        _follow(
            connected, f"{whole}{_query({**query, 'watch': '1', 'resourceVersion': version})}", output, wide
        )


@dataclass(frozen=True, slots=True)
class _Layout:
    """`wide`: with the namespace as first column."""

    wide: bool

    def row(self, row: dict[str, Any]) -> list[str]:
        space = [row["object"]["metadata"].get("namespace", "")] if self.wide else []
        return [*space, *map(str, row["cells"])]

    def header(self, table: dict[str, Any]) -> list[str]:
        return [
            *(["NAMESPACE"] if self.wide else []),
            *(c["name"].upper() for c in table["columnDefinitions"]),
        ]


def _print(table: dict[str, Any], layout: _Layout, *, watching: bool) -> None:
    rows = [layout.row(row) for row in table["rows"]]
    if not rows and not watching:
        click.echo("nothing found", err=True)
        return
    for line in columns(layout.header(table), rows):
        click.echo(line)


def _follow(client: Client, path: str, output: str, wide: bool) -> None:
    """One line (JSON: an event a line) for each change, until the server or Ctrl-C ends it."""
    layout = _Layout(wide)
    accept = _TABLE if output == "table" else "application/json"
    for event in client.watch(path, accept=accept):
        if event["type"] == "ERROR":
            raise Failure(str(event["object"].get("message")), hint="run it again: the watch starts anew")
        if output == "table":
            for row in event["object"]["rows"]:
                click.echo("  ".join([*layout.row(row), f"({event['type'].lower()})"]))
        else:
            click.echo(json.dumps(event, ensure_ascii=False))


def _query(query: dict[str, str]) -> str:
    from urllib.parse import urlencode

    wanted = urlencode({name: value for name, value in query.items() if value})
    return f"?{wanted}" if wanted else ""
