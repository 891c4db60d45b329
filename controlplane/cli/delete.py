"""`pylis delete`: one object by name, or what files name. What files say wrongly deletes nothing."""

from __future__ import annotations

from collections.abc import Callable

import click

from controlplane.cli.client import Client, RefusedError, member, options
from controlplane.cli.output import Exit, Failure, fail_with
from controlplane.resources.kinds import Kind


@click.command()
@click.argument("kind", default="")
@click.argument("name", default="")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("-f", "--filename", "files", multiple=True, help="Delete what these files define.")
@options
def delete(
    kind: str, name: str, namespace: str, files: tuple[str, ...], client: Callable[[], Client]
) -> None:
    """Delete resources.

    \b
    Example:
      pylis delete authorizationpolicy catalog -n shop
    """
    if bool(files) == bool(kind) or (kind and not name):
        raise Failure("name what to delete", hint="pylis delete KIND NAME [-n NAMESPACE], or -f FILE")
    targets = _in_files(files) if files else [(_kind(kind), namespace, name)]
    connected, missing = client(), list[str]()
    for target, space, object_name in targets:
        label = f"{target.singular}/{object_name}"
        path = member(target.api_version, target.plural, space if target.namespaced else None, object_name)
        try:
            connected.request("DELETE", path)
        except RefusedError as error:
            if error.status != 404:
                raise
            missing.append(str(error.message))
        else:
            click.echo(f"{label} deleted")
    if missing:
        raise Failure("\n".join(missing), code=Exit.NO)


def _in_files(files: tuple[str, ...]) -> list[tuple[Kind, str, str]]:
    """Namespaces last: what is in them goes first. Raises: Failure."""
    from controlplane.resources.read import check, read_paths

    documents, unreadable = read_paths(files)
    accepted, problems = check(documents)
    errors = [p for p in (*unreadable, *problems) if p.is_error]
    if errors:
        raise fail_with(errors, "nothing was deleted.")
    accepted.sort(key=lambda item: not item[0].namespaced)
    return [(kind, document.namespace or "default", document.name) for kind, document in accepted]


def _kind(word: str) -> Kind:
    from controlplane.resources import kinds

    found = kinds.by_word(word)
    if found is None:
        raise Failure(f'"{word}" is no kind', hint=f"known: {', '.join(k.plural for k in kinds.KINDS)}")
    return found
