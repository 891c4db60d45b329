"""Which issuer a command talks to: a server that was named, the one that runs here, or the state directory.

A server that was named must answer. One that is only found (a kubeconfig in its usual place) is used when it
answers for the wanted trust domain, and is passed over with a note otherwise.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from ca.bundle import TrustBundle
from ca.spiffe_id import TrustDomain
from controlplane.cli.minting import Connection, remote_bundle
from controlplane.cli.output import Exit, Failure


@dataclass(frozen=True, slots=True)
class SourceOptions:
    state_dir: Path
    server: str | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    kubeconfig: Path | None = None

    @property
    def is_explicit(self) -> bool:
        """Did the user name a server?"""
        return self.server is not None or self.kubeconfig is not None

    @property
    def found_kubeconfig(self) -> Path | None:
        path = Path(os.environ.get("PYLIS_KUBECONFIG") or self.state_dir / "kubeconfig")
        return path if path.is_file() else None


@dataclass(frozen=True, slots=True)
class Server:
    connection: Connection
    bundle: TrustBundle


def source_options(command: Callable[..., object]) -> Callable[..., object]:
    """`--server --token-file --ca-file --kubeconfig --state-dir` as the parameter `source`."""

    @click.option("--server", metavar="URL", envvar="PYLIS_SERVER", help="The control plane to ask.")
    @click.option(
        "--token-file", type=click.Path(path_type=Path), help="File with the bearer token for --server."
    )
    @click.option(
        "--ca-file",
        type=click.Path(path_type=Path),
        envvar="PYLIS_CA_FILE",
        help="PEM file that vouches for --server.",
    )
    @click.option("--kubeconfig", type=click.Path(path_type=Path), help="Ask the server of this kubeconfig.")
    @click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(".pylis"),
        envvar="PYLIS_STATE_DIR",
        show_default=True,
        help="Where a local authority lives when no server is asked.",
    )
    @functools.wraps(command)
    def with_source(
        *args: object,
        server: str | None,
        token_file: Path | None,
        ca_file: Path | None,
        kubeconfig: Path | None,
        state_dir: Path,
        **rest: object,
    ) -> object:
        return command(
            *args, source=SourceOptions(state_dir, server, token_file, ca_file, kubeconfig), **rest
        )

    return with_source


def find_server(source: SourceOptions, wanted: TrustDomain | None) -> Server | None:
    """The server to ask for `wanted` (any trust domain if None); None when a local authority is to be used.

    Raises: Failure when the user named a server that does not answer, or answers for another trust domain.
    """
    if source.is_explicit:
        server = _ask(source)
        if wanted not in (None, server.bundle.trust_domain):
            raise Failure(f"the server's trust domain is {server.bundle.trust_domain}, not {wanted}")
        return server
    if source.found_kubeconfig is None:
        return None
    try:
        server = _ask(source)
    except Failure as failure:
        if failure.exit_code != Exit.UNREACHABLE:
            raise
        click.echo(f"{failure.message}; going on with the authorities in {source.state_dir}", err=True)
        return None
    return server if wanted in (None, server.bundle.trust_domain) else None


def _ask(source: SourceOptions) -> Server:
    # the API's client is loaded only when a server is asked: offline commands start without it
    from controlplane.cli import client

    kubeconfig = source.kubeconfig or source.found_kubeconfig
    connection = client.connect(kubeconfig, source.server or "", source.token_file, source.ca_file)
    return Server(connection, remote_bundle(connection))
