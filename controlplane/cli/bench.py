"""`pylis bench xds`: how a control plane carries a fleet of sidecars, in figures."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from controlplane.cli.client import Client, options
from controlplane.cli.output import Exit, Failure


@click.group()
def bench() -> None:
    """Load tools: size an installation before it is one."""


@bench.command()
@click.option("--sidecars", default=100, show_default=True, type=click.IntRange(20, 20_000))
@click.option("--replicas", default=10, show_default=True, type=click.IntRange(1, 100), help="Per service.")
@click.option(
    "--edits", default=20, show_default=True, type=click.IntRange(0, 10_000), help="Of one workload's policy."
)
@click.option("--mesh-edits", default=3, show_default=True, type=click.IntRange(0, 1000))
@click.option(
    "--policies",
    default=0,
    show_default=True,
    type=click.IntRange(0, 100_000),
    help="More, that select nobody.",
)
@click.option("--xds", default="", help="host:port  [default: what the API says]")
@click.option("--server-pid", default=0, help="Measure that process's CPU and memory, too.")
@click.option("--root-namespace", default="istio-system", show_default=True)
@click.option(
    "--identities",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A directory of pylis svid mint --ids-file, with nodes.txt beside: a node id a line. Nothing is written "
    "to an API then, only connected: for other control planes that speak delta ADS.",
)
@click.option(
    "--server-name",
    default="",
    help="In the xDS port's certificate.  [default: server.pylis.internal, or a worker's]",
)
@options
def xds(client: Callable[[], Client], identities: Path | None, xds: str, **chosen: Any) -> None:
    """Simulate sidecars, each with its own key and mTLS connection, and print figures as JSON.

    Writes a mesh of its own (namespaces load-0 to load-9) to the server: use one made for the purpose.

    \b
    Example:
      pylis bench xds --sidecars 1000 --server-pid "$(pgrep -f 'pylis server')"
    """
    from controlplane.load import command

    if identities is not None and not xds:
        raise Failure("--identities needs --xds host:port")
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    with runner:
        try:
            if identities is not None:
                found = runner.run(
                    command.connect_only(identities, xds, chosen["server_name"], chosen["server_pid"])
                )
            else:
                found = runner.run(command.whole(client(), command.Wanted(xds=xds, **chosen)))
        except (OSError, command.BenchError) as error:
            raise Failure(str(error), code=Exit.UNREACHABLE) from error
    click.echo(json.dumps({"loadClientCpus": os.cpu_count(), **found}, indent=2))
