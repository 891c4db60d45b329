"""`pylis docker`: containers by label, meshed through the engine."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

import click

_FILE = click.Path(path_type=Path)


@click.group()
def docker() -> None:
    """Mesh containers that carry the label pylis.io/inject=true."""


@docker.command()
@click.option(
    "--join-socket",
    type=_FILE,
    envvar="PYLIS_AGENT_JOIN_SOCKET",
    help="Where the control plane gives join tokens.",
)
@click.option("--token", default="", envvar="PYLIS_AGENT_TOKEN", help="A join token instead; needed once.")
@click.option(
    "--data-dir",
    type=_FILE,
    default="/var/lib/pylis-agent",
    show_default=True,
    envvar="PYLIS_AGENT_DATA_DIR",
    help="Its own key and state.",
)
@click.option(
    "--run-dir",
    type=_FILE,
    default="/run/pylis",
    show_default=True,
    envvar="PYLIS_AGENT_RUN_DIR",
    help="The sockets that sidecars get to see; a volume, or a path of the engine's machine.",
)
@click.option(
    "--gate-dir",
    type=_FILE,
    default="/opt/pylis/gate",
    show_default=True,
    envvar="PYLIS_AGENT_GATE_DIR",
    help="Where the start-up gate is put for containers to mount.",
)
@click.option(
    "--image",
    default="envoyproxy/envoy:v1.40.0",
    show_default=True,
    envvar="PYLIS_AGENT_IMAGE",
    help="The sidecar's image.",
)
@click.option(
    "--mesh",
    default="",
    envvar="PYLIS_AGENT_MESH",
    help="Take the containers with this label pylis.io/mesh.  [default: those without it]",
)
def watch(
    join_socket: Path | None,
    token: str,
    data_dir: Path,
    run_dir: Path,
    gate_dir: Path,
    image: str,
    mesh: str,
) -> None:
    """Keep every labelled container of this engine behind a sidecar, until stopped.

    \b
    Example:
      pylis docker watch --token "$(pylis token create --agent docker)" --run-dir /run/pylis
    """
    import structlog

    from agent.attest import AttestError
    from agent.docker.engine import EngineReplacedError
    from agent.docker.run import DockerConfig, main
    from agent.run import BusyError
    from ca.attest.join_token import JoinToken
    from ca.errors import TokenError

    logging.getLogger("grpclib").setLevel(logging.ERROR)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        joining = JoinToken.decode(token) if token else None
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        asyncio.run(main(DockerConfig(data_dir, run_dir, gate_dir, image, join_socket, joining, mesh)))
    except (TokenError, BusyError) as error:
        raise click.UsageError(str(error)) from error
    except AttestError as error:
        click.echo(str(error), err=True)
        raise SystemExit(3) from error
    except EngineReplacedError as error:  # `restart: unless-stopped` is what starts it anew
        click.echo(str(error), err=True)
        raise SystemExit(1) from error
    except OSError as error:
        raise click.UsageError(f"cannot use {error.filename or data_dir}: {error.strerror}") from error


@docker.command()
@click.option(
    "--data-dir", type=_FILE, default="/var/lib/pylis-agent", show_default=True, envvar="PYLIS_AGENT_DATA_DIR"
)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(data_dir: Path, output: str) -> None:
    """Say what the agent of this data directory has meshed; exit 1 when it is not connected or something is wrong.

    \b
    Example:
      docker compose exec agent pylis docker status
    """
    try:
        found: dict[str, Any] = json.loads((data_dir / "status.json").read_text())
    except (OSError, ValueError):
        click.echo(f"no agent has run in {data_dir}: pylis docker watch", err=True)
        raise SystemExit(1) from None
    if output == "json":
        click.echo(json.dumps(found, indent=1))
    else:
        _table(found)
    wrong = found["engine"] or found["error"] or not found["connected"]
    raise SystemExit(1 if wrong else 0)


def _table(found: dict[str, Any]) -> None:
    for one in [*found["containers"], *found["unfit"]]:
        click.echo(
            f"{'×' if one['problem'] else '√'} {one['name']:<32} {one.get('workload', ''):<32} {one['problem']}"
        )
    for one in found["notTaken"]:
        click.echo(f"× {one['workload']:<32} {'':<32} {one['reason']}")
    for key in ("engine", "error"):
        if found[key]:
            click.echo(f"× {key}: {found[key]}")
    if not found["connected"]:
        click.echo("× not connected to the control plane")
