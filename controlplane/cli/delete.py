"""`pylis delete`: one object by name, or what files name."""

from __future__ import annotations

from collections.abc import Callable

import click

from controlplane.cli.client import Client, collection, options
from controlplane.cli.output import Failure, fail_with


@click.command()
@click.argument("kind", default="")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-f", "--filename", "files", multiple=True, help="Delete what these files define.")
@options
def delete(kind: str, name: str, namespace: str, files: tuple[str, ...], client: Callable[[], Client]) -> None:
    """Delete resources.

    \b
    Example:
      pylis delete authorizationpolicy catalog -n shop
    """
    from controlplane.resources import kinds
    from controlplane.resources.read import check, read_paths

    targets: list[tuple[kinds.Kind, str, str]] = []
    if files:
        documents, unreadable = read_paths(files)
        accepted, _ = check(documents)
        if unreadable:
            raise fail_with(unreadable, "nothing was deleted.")
        targets = [(k, d.namespace or "default", d.name) for k, d in accepted]
    elif kind and name:
        found = kinds.by_word(kind)
        if found is None:
            raise Failure(f'"{kind}" is no kind', hint=f"known: {', '.join(k.plural for k in kinds.KINDS)}")
        targets = [(found, namespace, name)]
    else:
        raise Failure("name what to delete", hint="pylis delete KIND NAME [-n NAMESPACE], or -f FILE")
    connected = client()
    for target, space, object_name in targets:
        path = collection(target.api_version, target.plural, space if target.namespaced else None)
        connected.request("DELETE", f"{path}/{object_name}")
        click.echo(f"{target.singular}/{object_name} deleted")
