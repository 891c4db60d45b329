"""`pylis policy diff`: who gains or loses what between two sets of policies."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import click

from controlplane.cli.mesh_source import mesh_config_option, mesh_of, registry_of, settings_of
from controlplane.cli.output import Exit, Failure, aligned, emit, format_option
from controlplane.mesh.mesh import Mesh
from controlplane.mesh.targets import policies_of, targets_of
from controlplane.request_words import caller_words, request_json, request_words
from controlplane.resources import kinds
from controlplane.resources.read import SUFFIXES, read_paths
from controlplane.resources.yaml_text import read_text
from policies.diff import Change, Diff, Relation, all_targets, diff
from policies.document import Document, Json
from policies.evaluate import Decision
from policies.pattern import TooManyError
from policies.problem import Problem
from policies.program import Protocol
from policies.side import Policies

_CLOSING = "nothing was compared."


@click.command()
@click.argument("sides", nargs=-1, required=True, metavar="OLD NEW | A..B [PATH…]")
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True),
    help="What both sides have: a mesh.yaml or WorkloadEntries, so that real workloads are compared.",
)
@click.option("--trust-domain", default="", help="Of the mesh.  [default: mesh.yaml's, or cluster.local]")
@mesh_config_option
@click.option("--exit-code", is_flag=True, help="Exit with 1 where there is a difference.")
@format_option
@click.pass_context
def policy_diff(
    context: click.Context,
    sides: tuple[str, ...],
    files: tuple[str, ...],
    trust_domain: str,
    mesh_config: Path | None,
    exit_code: bool,
    output: str,
) -> None:
    """Say who gains or loses what: exact, each difference with a request that shows it.

    OLD and NEW are files or directories; A..B are git revisions, and PATH is what to read of them.

    \b
    Example:
      pylis policy diff policies/ policies.new/
      pylis policy diff main..HEAD policies/ -f mesh.yaml --exit-code
    """
    before, after = _read(sides, files, trust_domain, mesh_config)
    old, new = policies_of(before), policies_of(after)
    try:
        known = {(t.workload.namespace, t.workload.name, t.port): t for t in targets_of(before)}
        known |= {(t.workload.namespace, t.workload.name, t.port): t for t in targets_of(after)}
        targets = list(known.values()) or all_targets(old, new)
        found = diff(old, new, targets)
    except TooManyError as error:
        hint = "compare fewer policies at once, or give the workloads with -f"
        raise Failure(f"these policies cannot be compared: {error}", hint=hint) from error
    emit(_to_json(found, old, new), output, lambda: _lines(found, old, new))
    context.exit(int(Exit.NO if exit_code and found.relation is not Relation.EQUIVALENT else Exit.DONE))


def _read(
    sides: Sequence[str], files: Sequence[str], trust_domain: str, mesh_config: Path | None
) -> tuple[Mesh, Mesh]:
    """Raises: Failure."""
    if ".." in sides[0] and not Path(sides[0]).exists():
        old, _, new = sides[0].partition("..")
        paths = sides[1:] or (".",)
        both = [read_revision(old or "HEAD", paths), read_revision(new.lstrip(".") or "HEAD", paths)]
    elif len(sides) == 2:
        both = [read_paths([side]) for side in sides]
    else:
        hint = "or two git revisions: pylis policy diff A..B [PATH…]"
        raise Failure("two sides are compared: OLD and NEW", hint=hint)
    common, wrong = registry_of(files)
    settings = settings_of(mesh_config)
    before, after = (
        mesh_of(
            [*_known(found), *common],
            [*problems, *wrong],
            trust_domain,
            _CLOSING,
            with_policies=False,
            settings=settings,
        )
        for found, problems in both
    )
    return before, after


def _known(documents: Sequence[Document]) -> list[Document]:
    """A directory or a repository may hold other YAML, too."""
    return [
        d
        for d in documents
        if kinds.by_api_version(d.api_version, d.kind) or (not d.kind and "workloads" in d.value)
    ]


def read_revision(revision: str, paths: Sequence[str]) -> tuple[list[Document], list[Problem]]:
    """The YAML and JSON of a git revision; files are called as git calls them. Raises: Failure."""
    documents, problems = list[Document](), list[Problem]()
    commit = _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}").strip()
    listed = _git("ls-tree", "-r", "-z", "--name-only", "--full-name", commit, "--", *paths)
    for name in sorted(filter(None, listed.split("\0"))):
        if name.endswith(SUFFIXES):
            found, wrong = read_text(_git("show", f"{commit}:{name}"), name)
            documents += found
            problems += wrong
    return documents, problems


def _git(*arguments: str) -> str:
    """Raises: Failure."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S607 - the user's git
    except OSError as error:
        raise Failure("git cannot be started", hint="install it, or compare two directories") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"git {' '.join(arguments)} failed"
        raise Failure(said, hint="is it a revision of this repository?")
    return done.stdout.decode(errors="replace")


def _to_json(found: Diff, old: Policies, new: Policies) -> dict[str, Json]:
    return {
        "relation": str(found.relation),
        "grants": sum(change.gained for change in found.changes),
        "revocations": sum(not change.gained for change in found.changes),
        "policiesRead": len(old.authorization) + len(new.authorization),
        "tokensChanged": list(found.tokens),
        "changes": [_change(change, old, new) for change in found.changes],
    }


def _change(change: Change, old: Policies, new: Policies) -> dict[str, Json]:
    target = change.target
    return {
        "change": "grant" if change.gained else "revocation",
        "to": {
            "workload": target.workload.name,
            "namespace": target.workload.namespace,
            "labels": dict(target.workload.labels),
            "port": target.port,
        },
        "before": {
            "allowed": change.before.allowed,
            "rule": change.before.rule,
            **_place(old, change.before),
        },
        "after": {"allowed": change.after.allowed, "rule": change.after.rule, **_place(new, change.after)},
        "witness": request_json(change.witness.request, target.protocol),
        "authorizers": dict(change.witness.authorizers),
    }


def _place(policies: Policies, decision: Decision) -> dict[str, Json]:
    origin = policies.rule_origin(decision.rule)
    return {"file": origin.file or None, "line": origin.line or None}


def _lines(found: Diff, old: Policies, new: Policies) -> list[str]:
    groups = _alike(found.changes)
    grants = sum(group[0].gained for group in groups)
    read = len(old.authorization) + len(new.authorization)
    counts = f"{_many(grants, 'grant')}, {_many(len(groups) - grants, 'revocation')}"
    rows = [_row(group, old, new) for group in groups]
    return [
        f"{found.relation} ({counts}), {_many(read, 'policy', 'policies')} read",
        *(f"  {line}" for line in aligned(rows)),
        *(f"  ! {name}: which tokens are accepted has changed" for name in found.tokens),
    ]


def _alike(changes: Sequence[Change]) -> list[list[Change]]:
    """Changes that differ in nothing but the port."""
    groups = dict[tuple[str, ...], list[Change]]()
    for change in changes:
        workload = change.target.workload
        rules = change.before.rule, change.after.rule
        key = (str(change.gained), workload.namespace, workload.name, change.target.protocol, *rules)
        groups.setdefault(key, []).append(change)
    return list(groups.values())


def _row(group: Sequence[Change], old: Policies, new: Policies) -> tuple[str, ...]:
    change = group[0]
    target, request = change.target, change.witness.request
    ports = ",".join(str(port) for port in sorted({one.target.port for one in group}))
    what = f"{request.method} {request.path}" if target.protocol is Protocol.HTTP else "TCP"
    side, decision = (new, change.after) if change.gained else (old, change.before)
    return (
        f"{'+' if change.gained else '-'} {caller_words(request)}",
        f"→ {target.workload.name}.{target.workload.namespace}:{ports}",
        what,
        f"{change.before.rule} → {change.after.rule} {side.rule_origin(decision.rule)}".rstrip(),
        f"e.g. {request_words(request, target.protocol)}",
    )


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or f'{one}s'}"
