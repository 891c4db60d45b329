"""`pylis history`, `pylis rollback`: the kept revisions of one object, and the way back to one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import click

from controlplane.cleaned import cleaned
from controlplane.cli.client import Client, RefusedError, collection, member, options
from controlplane.cli.output import Failure, columns, emit, format_option
from controlplane.difference import differences
from controlplane.resources.kinds import KINDS, Kind, by_word

_SHOWN = 3  # fields of a change in a table


@click.command()
@click.argument("kind")
@click.argument("name")
@click.option("-n", "--namespace", default="default", show_default=True)
@format_option
@options
def history(kind: str, name: str, namespace: str, output: str, client: Callable[[], Client]) -> None:
    """Show the kept revisions of one object: when, who, what.

    \b
    Example:
      pylis history authorizationpolicy orders -n shop
    """
    revisions = revisions_of(client(), named_kind(kind), namespace, name)
    emit(
        revisions, output, lambda: columns(("REVISION", "TIME", "CHANGE", "WHO", "FIELDS"), _rows(revisions))
    )


@click.command()
@click.argument("kind")
@click.argument("name")
@click.option("--to", "revision", type=int, required=True, help="A revision that `pylis history` shows.")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@options
def rollback(
    kind: str, name: str, revision: int, namespace: str, dry_run: bool, client: Callable[[], Client]
) -> None:
    """Make an object what it was at an earlier revision. That is a change like any other: checked and audited.

    \b
    Example:
      pylis rollback authorizationpolicy orders --to 412 -n shop
    """
    found, connected = named_kind(kind), client()
    then = object_at(revisions_of(connected, found, namespace, name), revision, name)
    scope = namespace if found.namespaced else None
    path = member(found.api_version, found.plural, scope, name)
    query = "?dryRun=All" if dry_run else ""
    body = {"apiVersion": found.api_version, "kind": found.kind, **cleaned(then)}
    try:
        before = connected.request("GET", path)
    except RefusedError as error:
        if error.status != 404:
            raise
        before = dict[str, Any]()
        after = connected.request(
            "POST", f"{collection(found.api_version, found.plural, scope)}{query}", body
        )
    else:
        after = connected.request("PUT", f"{path}{query}", body)
    changed = differences(before, after)
    word = "would be" if dry_run else "is"
    click.echo(f"{found.singular}/{name} {word} as at revision {revision}; {len(changed)} fields changed")
    for change in changed:
        click.echo(f"  {change['path']}: {change.get('old', '(none)')} → {change.get('new', '(none)')}")


def named_kind(word: str) -> Kind:
    """Raises: Failure."""
    found = by_word(word)
    if found is None:
        raise Failure(f'"{word}" is no kind', hint=f"known: {', '.join(k.plural for k in KINDS)}")
    return found


def revisions_of(client: Client, kind: Kind, namespace: str, name: str) -> list[dict[str, Any]]:
    """Oldest first. Raises: Failure when there are none."""
    scope = namespace if kind.namespaced else ""
    query = urlencode({"resource": kind.resource, "namespace": scope, "name": name})
    items: list[dict[str, Any]] = client.request("GET", f"/pylis/v1/history?{query}")["items"]
    if not items:
        raise Failure(f'no revision of {kind.singular} "{name}" is kept', hint=f"pylis get {kind.plural} -A")
    return items


def object_at(revisions: list[dict[str, Any]], revision: int, name: str) -> dict[str, Any]:
    found = next((r for r in revisions if r["revision"] == revision and r["change"] != "DELETED"), None)
    if found is None:
        known = ", ".join(str(r["revision"]) for r in revisions if r["change"] != "DELETED")
        raise Failure(f'"{name}" has no revision {revision}', hint=f"kept: {known}")
    return found["object"]


def _rows(revisions: list[dict[str, Any]]) -> list[list[str]]:
    rows: list[list[str]] = []
    before: dict[str, Any] | None = None
    for revision in revisions:
        now = None if revision["change"] == "DELETED" else revision["object"]
        paths = [d["path"] for d in differences(before, now)]
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        what = ", ".join(paths[:_SHOWN]) + more
        rows.append(
            [str(revision["revision"]), revision["time"][:19] + "Z", revision["change"].lower(), revision["author"] or "-", what]
        )  # fmt: skip
        before = now
    return rows
