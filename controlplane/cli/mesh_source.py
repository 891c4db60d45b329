"""The mesh that commands ask about: from files (resources, a mesh.yaml), from git, or from the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import click

from controlplane.cli.client import Client
from controlplane.cli.minting import remote_bundle
from controlplane.cli.output import fail_with
from controlplane.local import layout, mesh_file
from controlplane.mesh.mesh import Mesh
from controlplane.resources import kinds
from controlplane.resources.read import check, read_paths
from policies import policy_test
from policies.document import Document, Json
from policies.fields import Fields
from policies.mesh_settings import read_settings
from policies.problem import Problem
from policies.workload import MeshSettings

POLICY_KINDS: Final = frozenset(
    {"AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication", "Quarantine"}
)
DEFAULT_TRUST_DOMAIN: Final = "cluster.local"
_ANY_PORT: Final = (
    20000  # of a mesh.yaml only names and service ports are asked, never where a sidecar listens
)


def mesh_config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The `--mesh-config` of commands that ask files, as parameter `mesh_config`."""
    return click.option(
        "--mesh-config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The mesh's settings, as `pylis server --mesh-config` takes them.",
    )(function)


def read_mesh(
    files: Sequence[str],
    trust_domain: str = "",
    closing: str = "nothing was asked.",
    mesh_config: Path | None = None,
) -> Mesh:
    """Raises: Failure with every problem of the files."""
    documents, problems = read_paths(files)
    return mesh_of(documents, problems, trust_domain, closing, settings=settings_of(mesh_config))


def mesh_of(
    documents: Sequence[Document],
    problems: Sequence[Problem],
    trust_domain: str = "",
    closing: str = "nothing was asked.",
    *,
    with_policies: bool = True,
    settings: MeshSettings | None = None,
) -> Mesh:
    """The mesh of documents that were read, oldest first; `with_policies`: those that a mesh.yaml names, too.

    Raises: Failure with every problem.
    """
    found = list(problems)
    given = settings
    settings = settings or MeshSettings(DEFAULT_TRUST_DOMAIN)
    settings = replace(settings, trust_domain=trust_domain or settings.trust_domain)
    resources = list[Document]()
    for document in documents:
        if document.kind == policy_test.KIND:
            continue
        if document.kind or "workloads" not in document.value:
            resources.append(document)
            continue
        local, more = _expand(document, found, with_policies=with_policies)
        resources += more
        if local is not None and not trust_domain and given is None:
            settings = replace(settings, trust_domain=local.trust_domain)
    accepted, wrong = check(_first_of_each_file(resources))
    errors = [problem for problem in [*found, *wrong] if problem.is_error]
    if errors:
        raise fail_with(errors, closing)
    return _mesh(settings, [document for _, document in accepted])


def settings_of(file: Path | None) -> MeshSettings | None:
    """The mesh settings of a file (`pylis server --mesh-config` takes the same). Raises: Failure."""
    if file is None:
        return None
    documents, problems = read_paths([file])
    found = list(problems)
    settings = None
    for document in documents[:1]:
        fields = Fields.of(document)
        settings = read_settings(fields)
        found += fields.problems
    if settings is None or any(problem.is_error for problem in found):
        raise fail_with(found, "nothing was asked.")
    return settings


def fetch_mesh(connect: Callable[[], Client], trust_domain: str, mesh_config: Path | None = None) -> Mesh:
    """The mesh of a running control plane; `mesh_config`: the settings it was started with. Raises: Failure."""
    settings = settings_of(mesh_config) or MeshSettings(DEFAULT_TRUST_DOMAIN)
    client = connect()
    domain = trust_domain or remote_bundle(client).trust_domain.name
    documents = list[Document]()
    for kind in kinds.KINDS:
        for value in sorted(client.list(kind.api_version, kind.plural), key=_age):
            whole = {"apiVersion": kind.api_version, "kind": kind.kind, **value}
            documents.append(Document(cast("dict[str, Json]", whole)))
    return _mesh(replace(settings, trust_domain=domain), documents)


def registry_of(files: Sequence[str]) -> tuple[list[Document], list[Problem]]:
    """What files say of workloads and services, without any policy; a mesh.yaml stays one."""
    documents, problems = read_paths(files)
    return [d for d in documents if d.kind not in POLICY_KINDS], problems


def _expand(
    document: Document, problems: list[Problem], *, with_policies: bool
) -> tuple[mesh_file.MeshFile | None, list[Document]]:
    """What `pylis up` would apply for a mesh.yaml: its workloads as resources, and its policies."""
    local, found = mesh_file.parse(document)
    problems += found
    if local is None:
        return None, []
    placed = layout.place(local, iter(count(_ANY_PORT)), "/nowhere")
    written = [Document(cast("dict[str, Json]", value), document.file) for value in layout.resources(placed)]
    if not with_policies:
        return local, written
    folder = Path(document.file).parent
    policies, more = read_paths([folder / path for path in local.policies])
    problems += more
    return local, [*written, *policies]


def _first_of_each_file(documents: Sequence[Document]) -> list[Document]:
    """A policy file may be given by itself and by its mesh.yaml: it is one and the same."""
    seen = dict[tuple[str, int, str, str, str], Document]()
    for document in documents:
        origin = document.origin()
        file = str(Path(origin.file).resolve())
        seen.setdefault((file, origin.line, document.kind, document.namespace, document.name), document)
    return list(seen.values())


def _age(value: dict[str, Any]) -> tuple[str, str]:
    metadata: dict[str, Any] = value.get("metadata", {})
    return str(metadata.get("creationTimestamp", "")), str(metadata.get("name", ""))


def _mesh(settings: MeshSettings, documents: Sequence[Document]) -> Mesh:
    parsed = (kinds.parse(document)[0] for document in documents)
    return Mesh.of(settings, (found for found in parsed if found is not None))
