"""`pylis apply`: all or nothing is validated first, here; then each object is created or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from controlplane.cli.client import Client, RefusedError, collection, member, options
from controlplane.cli.output import Failure, fail_with
from controlplane.resources.kinds import Kind
from policies.document import Document


@click.command()
@click.option(
    "-f",
    "--filename",
    "files",
    multiple=True,
    required=True,
    help="File, directory, or - for standard input.",
)
@options
def apply(files: tuple[str, ...], client: Callable[[], Client]) -> None:
    """Create or change resources from files. Nothing is applied unless every document is valid.

    \b
    Example:
      pylis apply -f policies/
    """
    from controlplane.resources.read import check, read_paths

    documents, unreadable = read_paths(files)
    accepted, problems = check(documents)
    found = [*unreadable, *problems]
    if any(p.is_error for p in found):
        raise fail_with([p for p in found if p.is_error], "nothing was applied.")
    if not accepted:
        raise Failure(f"no resources in {', '.join(files)}; nothing was applied.")
    for warning in found:
        click.echo(f"warning: {warning}", err=True)
    connected, done = client(), 0
    try:
        for line in apply_each(connected, accepted):
            click.echo(line)
            done += 1
    except Failure as failure:
        if done:
            click.echo("what is listed above is in force; then:", err=True)
        raise failure from None


def apply_all(client: Client, accepted: list[tuple[Kind, Document]]) -> list[str]:
    """A line for each object. Namespaces that do not exist are made."""
    return list(apply_each(client, accepted))


def apply_each(client: Client, accepted: list[tuple[Kind, Document]]) -> Iterator[str]:
    """As `apply_all`, each line as soon as its object is in force."""
    known: set[str] = set()
    for kind, document in sorted(accepted, key=lambda item: item[0].namespaced):
        namespace = (document.namespace or "default") if kind.namespaced else ""
        if namespace and namespace not in known:
            known.add(namespace)
            if _ensure_namespace(client, namespace):
                yield f"namespace/{namespace} created"
        yield _apply(client, kind, namespace, document)


def _apply(client: Client, kind: Kind, namespace: str, document: Document) -> str:
    path = member(kind.api_version, kind.plural, namespace or None, document.name)
    label = "/".join(part for part in (_resource(kind), namespace, document.name) if part)
    body: dict[str, Any] = {**document.value, "apiVersion": kind.api_version}
    try:
        before = client.request("GET", path)
    except RefusedError as error:
        if error.status != 404:
            raise
        client.request("POST", collection(kind.api_version, kind.plural, namespace or None), body)
        return f"{label} created"
    metadata = {**document.metadata, "resourceVersion": before["metadata"]["resourceVersion"]}
    after = client.request("PUT", path, {**body, "metadata": metadata})
    same = after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    return f"{label} {'unchanged' if same else 'configured'}"


def _resource(kind: Kind) -> str:
    return f"{kind.singular}.{kind.group}" if kind.group else kind.singular


def _ensure_namespace(client: Client, name: str) -> bool:
    try:
        client.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    except RefusedError as error:
        if error.status != 409:
            raise
        return False
    return True
