"""`pylis policy describe`: who may do what, in prose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from controlplane.cli.client import Client, options
from controlplane.cli.mesh_source import fetch_mesh, mesh_config_option, read_mesh
from controlplane.cli.output import Failure, emit, format_option
from controlplane.mesh.mesh import Mesh
from controlplane.mesh.targets import policies_of, targets_of
from policies.describe import Description, describe, describe_policy
from policies.document import Json
from policies.side import Target


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE…]", type=click.Path(exists=True))
@click.option("--workload", default="", metavar="NAME", help="Of one workload only: name or namespace/name.")
@click.option("--trust-domain", default="", help="Of the mesh.  [default: mesh.yaml's, or cluster.local]")
@mesh_config_option
@format_option
@options
def policy_describe(
    files: tuple[str, ...],
    workload: str,
    trust_domain: str,
    mesh_config: Path | None,
    output: str,
    client: Callable[[], Client],
) -> None:
    """Say who may do what, workload by workload; without FILE, of the server's policies.

    Files that hold policies and no workloads are described policy by policy.

    \b
    Example:
      pylis policy describe mesh.yaml
      pylis policy describe policies/ mesh.yaml --workload shop/orders
    """
    mesh = (
        read_mesh(files, trust_domain, "nothing was described.", mesh_config)
        if files
        else fetch_mesh(client, trust_domain, mesh_config)
    )
    found = _describe(mesh, workload)
    if workload and not found:
        known = ", ".join(f"{entry.namespace}/{entry.name}" for entry in mesh.entries) or "none"
        raise Failure(f'no workload is called "{workload}"', hint=f"known here: {known}")
    if found:
        listed: list[Json] = [one.to_json() for one in found]
        emit({"workloads": listed}, output, lambda: _lines(found))
        return
    sentences = [(policy.full_name, describe_policy(policy)) for policy in mesh.policies]
    body = {"policies": [{"policy": name, "rules": [s.to_json() for s in own]} for name, own in sentences]}
    emit(
        body,
        output,
        lambda: [f"{s.rule}  {s.action}  {s.text}  {s.origin}".rstrip() for _, own in sentences for s in own],
    )


def _describe(mesh: Mesh, wanted: str) -> list[Description]:
    policies = policies_of(mesh)
    domain = mesh.settings.trust_domain
    callers = {f"{domain}/ns/{entry.namespace}/sa/{entry.service_account}" for entry in mesh.entries}
    by_workload = dict[tuple[str, str], list[Target]]()
    for target in targets_of(mesh):
        by_workload.setdefault((target.workload.namespace, target.workload.name), []).append(target)
    return [
        describe(policies, targets, callers)
        for (namespace, name), targets in sorted(by_workload.items())
        if wanted in ("", name, f"{namespace}/{name}")
    ]


def _lines(found: list[Description]) -> list[str]:
    lines = list[str]()
    for one in found:
        lines += [*([""] if lines else []), *one.lines()]
    return lines
