"""`pylis export`, `pylis diff`: what is declared as clean YAML, and how files differ from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import click
import yaml

from controlplane.builtin_roles import ADMINS
from controlplane.cleaned import cleaned
from controlplane.cli.client import Client, RefusedError, collection, member, options
from controlplane.cli.history import named_kind, object_at, revisions_of
from controlplane.cli.output import Exit, Failure, fail_with
from controlplane.resources.kinds import KINDS, Kind

_BUILT_IN = frozenset({"viewer", "editor", "admin", "auditor", ADMINS})


@click.command()
@click.option("-n", "--namespace", default="", help="Only this namespace.")
@options
def export(namespace: str, client: Callable[[], Client]) -> None:
    """Print everything that is declared as YAML that can be applied again. Secrets are left out.

    \b
    Example:
      pylis export > mesh-policies.yaml
    """
    connected = client()
    for kind in KINDS:
        if kind.read_only or kind.kind == "Secret" or (namespace and not kind.namespaced):
            continue
        for obj in connected.list(kind.api_version, kind.plural, namespace or None):
            if kind.group == "rbac.authorization.k8s.io" and obj["metadata"]["name"] in _BUILT_IN:
                continue
            click.echo(f"---\n{text(kind, obj)}", nl=False)


@click.command()
@click.argument("kind", default="")
@click.argument("name", default="")
@click.option(
    "-f", "--filename", "files", multiple=True, help="File or directory: how the server would change."
)
@click.option("--revision", type=int, default=0, help="With KIND NAME: against this revision.")
@click.option("-n", "--namespace", default="default", show_default=True)
@click.option("--exit-code", is_flag=True, help="Exit 1 if there is a difference.")
@options
def diff(
    kind: str, name: str, files: tuple[str, ...], revision: int, namespace: str, exit_code: bool,
    client: Callable[[], Client],
) -> None:  # fmt: skip
    """Show what applying files would change, or what changed since a revision.

    \b
    Example:
      pylis diff -f policies/
      pylis diff authorizationpolicy orders --revision 412 -n shop
    """
    if bool(files) == bool(kind):
        raise Failure("give -f FILE, or KIND NAME --revision N", hint="pylis diff --help")
    connected = client()
    found = (
        _of_files(connected, files)
        if files
        else _since(connected, named_kind(kind), namespace, name, revision)
    )
    for line in found:
        click.echo(line)
    if found and exit_code:
        raise SystemExit(Exit.NO)


def text(kind: Kind, obj: dict[str, Any]) -> str:
    """Clean YAML; lists leave out what each object is."""
    whole = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
    return yaml.safe_dump(cleaned(whole), sort_keys=False, allow_unicode=True)


def _since(client: Client, kind: Kind, namespace: str, name: str, revision: int) -> list[str]:
    then = object_at(revisions_of(client, kind, namespace, name), revision, name)
    now = client.request(
        "GET", member(kind.api_version, kind.plural, namespace if kind.namespaced else None, name)
    )
    return _lines(text(kind, then), text(kind, now), f"{name} at {revision}", f"{name} now")


def _of_files(client: Client, files: tuple[str, ...]) -> list[str]:
    from controlplane.resources.read import check, read_paths

    documents, unreadable = read_paths(files)
    accepted, problems = check(documents)
    wrong = [p for p in (*unreadable, *problems) if p.is_error]
    if wrong:
        raise fail_with(wrong, "nothing was compared.")
    lines: list[str] = []
    for kind, document in accepted:
        namespace = (document.namespace or "default") if kind.namespaced else None
        path = member(kind.api_version, kind.plural, namespace, document.name)
        body: dict[str, Any] = {**document.value, "apiVersion": kind.api_version}
        label = "/".join(part for part in (kind.plural, namespace, document.name) if part)
        try:
            before = text(kind, client.request("GET", path))
            after = client.request("PUT", f"{path}?dryRun=All", body)
        except RefusedError as error:
            if error.status != 404:
                raise
            before = ""
            after = client.request(
                "POST", f"{collection(kind.api_version, kind.plural, namespace)}?dryRun=All", body
            )
        lines += _lines(before, text(kind, after), f"{label} live", f"{label} merged")
    return lines


def _lines(before: str, after: str, old: str, new: str) -> list[str]:
    return list(difflib.unified_diff(before.splitlines(), after.splitlines(), old, new, lineterm=""))
