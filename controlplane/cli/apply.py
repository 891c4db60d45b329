"""`pylis apply`: all or nothing is validated first, here; then each object is created or changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from controlplane.cli.client import Client, RefusedError, collection, options
from controlplane.cli.output import fail_with
from controlplane.resources.kinds import Kind
from policies.document import Document


@click.command()
@click.option("-f", "--filename", "files", multiple=True, required=True, help="File, directory, or - for standard input.")
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
    errors = [p for p in (*unreadable, *problems) if p.is_error]
    if errors:
        raise fail_with(errors, "nothing was applied.")
    connected = client()
    for line in apply_all(connected, accepted):
        click.echo(line)


def apply_all(client: Client, accepted: list[tuple[Kind, Document]]) -> list[str]:
    """A line for each object. Namespaces that do not exist are made."""
    lines: list[str] = []
    known: set[str] = set()
    for kind, document in sorted(accepted, key=lambda item: item[0].kind != "Namespace"):
        namespace = (document.namespace or "default") if kind.namespaced else ""
        if namespace and namespace not in known:
            known.add(namespace)
            if _ensure_namespace(client, namespace):
                lines.append(f"namespace/{namespace} created")
        lines.append(_apply(client, kind, namespace, document.value))
    return lines


def _apply(client: Client, kind: Kind, namespace: str, wanted: dict[str, Any]) -> str:
    path = collection(kind.api_version, kind.plural, namespace or None)
    name = wanted["metadata"]["name"]
    label = f"{kind.singular}{'.' + kind.group if kind.group else ''}/{f'{namespace}/' if namespace else ''}{name}"
    body = {**wanted, "apiVersion": kind.api_version}
    try:
        before = client.request("GET", f"{path}/{name}")
    except RefusedError as error:
        if error.status != 404:
            raise
        client.request("POST", path, body)
        return f"{label} created"
    metadata = {**wanted["metadata"], "resourceVersion": before["metadata"]["resourceVersion"]}
    after = client.request("PUT", f"{path}/{name}", {**body, "metadata": metadata})
    same = after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    return f"{label} {'unchanged' if same else 'configured'}"


def _ensure_namespace(client: Client, name: str) -> bool:
    try:
        client.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    except RefusedError as error:
        if error.status != 409:
            raise
        return False
    return True
