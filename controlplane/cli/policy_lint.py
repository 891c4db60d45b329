"""`pylis policy lint`: what is valid and probably not meant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from controlplane.cli.client import Client, options
from controlplane.cli.mesh_source import fetch_mesh, mesh_config_option, read_mesh
from controlplane.cli.output import Exit, emit, formats, to_json
from controlplane.cli.sarif import to_sarif
from controlplane.mesh.mesh import Mesh, workload
from controlplane.mesh.targets import policies_of, targets_of
from controlplane.resources import kinds
from controlplane.resources.read import list_files, read_paths
from controlplane.resources.verdicts import problem_json
from policies.lint import lint
from policies.lint.suppress import is_suppressed
from policies.lint.world import World
from policies.problem import Problem, Severity

_RANK = {Severity.NOTE: 0, Severity.WARNING: 1, Severity.ERROR: 2}
NEVER = "never"


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE…]", type=click.Path(exists=True))
@click.option("--ignore", multiple=True, metavar="CODE", help="Leave a code out; may be repeated.")
@click.option(
    "--fail-on",
    type=click.Choice([*map(str, _RANK), NEVER]),
    default=str(Severity.WARNING),
    show_default=True,
    help="The severity from which on the exit code is 1.",
)
@click.option("--trust-domain", default="", help="Of the mesh.  [default: mesh.yaml's, or cluster.local]")
@mesh_config_option
@formats("sarif")
@options
@click.pass_context
def policy_lint(
    context: click.Context,
    files: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str,
    trust_domain: str,
    mesh_config: Path | None,
    output: str,
    client: Callable[[], Client],
) -> None:
    """Say what in policies is valid and probably not meant; without FILE, of the server's policies.

    Give a mesh.yaml or WorkloadEntries, too, and names are held against what is there.
    A comment suppresses:  # pylis: ignore PYL1311   on the line or above it; ignore-file for a whole file.

    \b
    Example:
      pylis policy lint policies/ mesh.yaml
      pylis policy lint policies/ -o sarif > lint.sarif
    """
    mesh = (
        read_mesh(files, trust_domain, "nothing was linted.", mesh_config)
        if files
        else fetch_mesh(client, trust_domain, mesh_config)
    )
    texts = _texts(files)
    found = [*lint(world_of(mesh)), *_warnings(files)]
    found = [p for p in found if p.code not in ignore and not is_suppressed(p, texts)]
    found.sort(key=lambda p: (p.origin.file, p.origin.line, p.code))
    if output == "sarif":
        click.echo(to_json(to_sarif(found)))
    else:
        emit({"problems": [problem_json(problem) for problem in found]}, output, lambda: _lines(found))
    failed = fail_on != NEVER and any(_RANK[p.severity] >= _RANK[Severity(fail_on)] for p in found)
    context.exit(int(Exit.NO if failed else Exit.DONE))


def world_of(mesh: Mesh) -> World:
    """What is known of a mesh; identities are those of workloads and of registrations."""
    accounts = {(entry.namespace, entry.service_account) for entry in mesh.entries}
    for registration in mesh.registrations:
        parts = registration.spiffe_id.path.removeprefix("/").split("/")
        if len(parts) == 4:
            accounts.add((parts[1], parts[3]))
    hosts = {host for service in mesh.services for host in service.hosts}
    hosts |= {f"{host}:{p.number}" for s in mesh.services for host in s.hosts for p in s.ports}
    return World(
        policies_of(mesh),
        tuple(workload(entry) for entry in mesh.entries),
        tuple(targets_of(mesh)),
        frozenset(accounts),
        frozenset(hosts),
    )


def _texts(files: Sequence[str]) -> dict[str, list[str]]:
    """The lines of each file, for comments."""
    found = dict[str, list[str]]()
    for path in files:
        for file in list_files(path, []):
            found[file] = Path(file).read_text(errors="replace").splitlines()
    return found


def _warnings(files: Sequence[str]) -> list[Problem]:
    """What the API would say beside accepting."""
    documents = [
        d for path in files for d in read_paths([path])[0] if kinds.by_api_version(d.api_version, d.kind)
    ]
    return [problem for d in documents for problem in kinds.parse(d)[1] if not problem.is_error]


def _lines(found: Sequence[Problem]) -> list[str]:
    counts = {s: sum(p.severity is s for p in found) for s in _RANK}
    lines = [f"{problem.severity}: {problem}" for problem in found]
    return [*lines, f"{counts[Severity.WARNING]} warnings, {counts[Severity.NOTE]} notes"]
