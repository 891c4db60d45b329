"""`pylis bundle`: the trust bundle, from the control plane or from a local authority."""

from __future__ import annotations

import json

import click

from ca.bundle import TrustBundle
from ca.errors import SpiffeIdError
from ca.spiffe_id import TrustDomain
from controlplane.cli.minting import local_directory, local_trust_domains, open_local
from controlplane.cli.output import Failure
from controlplane.cli.svid_source import SourceOptions, find_server, source_options


@click.group()
def bundle() -> None:
    """The trust bundle: which authorities vouch for a trust domain."""


@bundle.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["pem", "spiffe"]),
    default="pem",
    show_default=True,
    help="How to print it.",
)
@click.option(
    "--trust-domain", metavar="NAME", help="Whose bundle, when there are several local authorities."
)
@source_options
def show(form: str, trust_domain: str | None, source: SourceOptions) -> None:
    """Print the trust bundle.

    \b
    Example:  pylis bundle show --format pem > bundle.pem
    """
    wanted = parse_domain(trust_domain)
    server = find_server(source, wanted)
    found = server.bundle if server else _local(source, wanted)
    click.echo(found.to_pem() if form == "pem" else json.dumps(found.to_spiffe(), indent=2) + "\n", nl=False)


def _local(source: SourceOptions, wanted: TrustDomain | None) -> TrustBundle:
    return open_local(source.state_dir, local_domain(source, wanted)).bundle


def local_domain(source: SourceOptions, wanted: TrustDomain | None) -> TrustDomain:
    """Only of an authority that exists: showing must not make one. Raises: Failure."""
    here = local_trust_domains(source.state_dir)
    if wanted is None and len(here) > 1:
        names = ", ".join(map(str, here))
        raise Failure(
            f"{source.state_dir} holds authorities of {names}", hint=f"choose: --trust-domain {here[0]}"
        )
    if not here or (wanted and wanted not in here):
        place = local_directory(source.state_dir, wanted) if wanted else source.state_dir
        raise Failure(
            f"no server was found, and no authority in {place}", hint="name a server with --server URL"
        )
    return wanted or here[0]


def parse_domain(name: str | None) -> TrustDomain | None:
    """Raises: Failure."""
    try:
        return None if name is None else TrustDomain.parse(name)
    except SpiffeIdError as error:
        raise Failure(f'"{name}" is no trust domain: {error}') from error
