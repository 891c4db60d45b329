"""`pylis observed`, `pylis enforce`: from a mesh that refuses nobody to one that does, a service at a time."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from controlplane.cli.client import Client, member, options
from controlplane.cli.output import Failure, columns, emit, format_option
from controlplane.docker.findings import SIDECAR_OF
from controlplane.docker.observed import Refusal, advice, refusals
from controlplane.resources.namespace import ENFORCE, EVERYONE
from policies import observe

_SECONDS: Final = 60
_SHOWN: Final = 40
_CORE, _NETWORKING = "v1", "networking.istio.io/v1"


@click.command()
@click.option("-p", "--project", default="", help="Of one compose project.  [default: of all on this engine]")
@click.option("--since", default="", help="As docker logs has it: 10m, 2h, a time.")
@click.option(
    "--log", "logs", multiple=True, help="An access log instead, or - for standard input; may be repeated."
)
@format_option
def observed(project: str, since: str, logs: tuple[str, ...], output: str) -> None:
    """Say who would have been refused what, and by which rule, had the services been enforced.

    It reads the logs of the sidecars on this engine.

    \b
    Example:
      pylis observed -p shop && pylis enforce web -n shop
    """
    read = [(Path(log).stem, _lines(log)) for log in logs]
    found = refusals(read) if logs else refusals(_sidecars(project, since), _names())
    body = {"refusals": [asdict(one) for one in found]}
    emit(body, output, lambda: _table(found))


def _table(found: Sequence[Refusal]) -> list[str]:
    if not found:
        return ["nothing would have been refused"]
    rows = [
        [str(f.count), f.caller, f"{f.service}:{f.port}", f.what or "TCP", f.rule, f.last]
        for f in found[:_SHOWN]
    ]
    lines = columns(["COUNT", "FROM", "TO", "WHAT", "RULE", "LAST"], rows)
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN} more: -o json")
    return [*lines, "", "to let it through:", *dict.fromkeys(f"  {advice(one)}" for one in found[:_SHOWN])]


def _sidecars(project: str, since: str) -> Iterator[tuple[str, list[str]]]:
    """Each sidecar's service with its log. Raises: Failure."""
    wanted = [f"label={SIDECAR_OF}", *([f"label=pylis.io/project={project}"] if project else [])]
    filters = [word for one in wanted for word in ("--filter", one)]
    ids = _docker("ps", "-q", "--no-trunc", *filters).split()
    if not ids:
        where = f"of the project {project}" if project else "on this engine"
        raise Failure(f"no sidecar {where}", hint="pylis doctor says what is meshed here")
    for one in json.loads(_docker("inspect", *ids)):
        name = str(one["Config"].get("Labels", {}).get("pylis.io/workload", "")).partition("/")
        limit = ["--since", since] if since else []
        yield (
            f"{name[2]}.{name[0]}" if name[2] else str(one["Name"]),
            _docker("logs", *limit, one["Id"]).splitlines(),
        )


def _names() -> dict[str, str]:
    """Address → container, of all that run now."""
    ids = _docker("ps", "-q").split()
    found: dict[str, str] = {}
    inspected: list[dict[str, Any]] = json.loads(_docker("inspect", *ids)) if ids else []
    for one in inspected:
        networks: dict[str, dict[str, Any]] = one["NetworkSettings"]["Networks"] or {}
        for network in networks.values():
            for key in ("IPAddress", "GlobalIPv6Address"):
                if network.get(key):
                    found[network[key]] = str(one["Name"]).lstrip("/")
    return found


def _lines(log: str) -> Iterable[str]:
    """Raises: Failure."""
    if log == "-":
        return sys.stdin
    try:
        return Path(log).read_text(errors="replace").splitlines()
    except OSError as error:
        raise Failure(f"{log} cannot be read: {error.strerror}") from error


def _docker(*arguments: str) -> str:
    """Raises: Failure."""
    docker = shutil.which("docker")
    if docker is None:
        raise Failure("no docker here", hint="name the sidecars' logs instead: --log FILE")
    try:
        done = subprocess.run(
            [docker, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"docker {arguments[0]}: {error}", hint="pylis doctor") from error
    if done.returncode != 0:
        raise Failure(f"docker {arguments[0]}: {done.stderr.strip()}", hint="pylis doctor")
    return done.stdout


@click.command()
@click.argument("services", nargs=-1)
@click.option("-n", "--namespace", required=True, help="Where the services are.")
@click.option("--all", "everyone", is_flag=True, help="Every service of the namespace, those to come too.")
@click.option("--undo", is_flag=True, help="Observe them again, where their container's label says so.")
@options
def enforce(
    services: tuple[str, ...], namespace: str, everyone: bool, undo: bool, client: Callable[[], Client]
) -> None:
    """Have services that were only observed refuse what policy refuses. No container is started anew.

    It sets the annotation pylis.io/enforce of the namespace; connections that are allowed stay open.

    \b
    Example:
      pylis enforce web db -n shop
      pylis enforce web -n shop --undo
    """
    if bool(services) == everyone:
        raise click.UsageError("name services, or --all")
    server = client()
    entries = server.list(_NETWORKING, "workloadentries", namespace)
    accounts = {str(one["spec"].get("serviceAccount", "default")): _asks(one) for one in entries}
    for service in services:
        if service not in accounts and not undo:
            known = ", ".join(sorted(accounts)) or "none"
            raise Failure(f"no workload of {service} in {namespace}", hint=f"services there: {known}")
    path = member(_CORE, "namespaces", None, namespace)
    before = _named(server.request("GET", path))
    wanted = {EVERYONE} if everyone else set(services)
    after = before - wanted if undo else before | wanted
    patch = {"metadata": {"annotations": {ENFORCE: ",".join(sorted(after)) or None}}}
    server.request("PATCH", path, patch, content_type="application/merge-patch+json")
    for account, asks in sorted(accounts.items()):
        if account in wanted or everyone:
            click.echo(
                f"{namespace}/{account} {_said(asks=asks, enforced=bool(after & {account, EVERYONE}))}"
            )
    if undo and EVERYONE in after and not everyone:
        click.echo(
            f"the namespace enforces every service: pylis enforce --all -n {namespace} --undo", err=True
        )


def _asks(entry: dict[str, Any]) -> bool:
    return bool(entry["metadata"].get("annotations", {}).get(observe.LABEL) == observe.OBSERVE)


def _said(*, asks: bool, enforced: bool) -> str:
    if enforced or not asks:
        return "is enforced" if asks else "is enforced (its container never asked to be observed)"
    return "is observed: nothing is refused"


def _named(value: dict[str, Any]) -> set[str]:
    text = str(value["metadata"].get("annotations", {}).get(ENFORCE, ""))
    return {one.strip() for one in text.split(",")} - {""}
