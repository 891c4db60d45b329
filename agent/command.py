"""`pylis agent run`: the agent in the foreground."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
def agent() -> None:
    """Run beside workloads: attest this machine, issue identities, supervise Envoy."""


_FILE = click.Path(path_type=Path)


def _option(flag: str, *more: str, **settings: Any) -> Callable[[_Command], _Command]:
    """Each option can be set in the environment, too: --data-dir as PYLIS_AGENT_DATA_DIR."""
    variable = flag.removeprefix("--").replace("-", "_").upper()
    return click.option(flag, *more, envvar=f"PYLIS_AGENT_{variable}", **settings)


@agent.command()
@_option("--server", default="", help="The API's HOST:PORT, if not the one in the token.")
@_option("--token", default="", help="A join token; needed once.")
@_option("--token-file", type=_FILE, help="A file with the join token.")
@_option(
    "--x509pop-cert", type=_FILE, help="This machine's certificate chain (PEM), to join by an invitation."
)
@_option("--x509pop-key", type=_FILE, help="Its private key (PEM); it stays here.")
@_option("--oidc-token-file", type=_FILE, help="A fresh ID token, to join by an invitation.")
@_option("--data-dir", type=_FILE, default=".pylis/agent", show_default=True, help="Its own key and state.")
@_option("--socket", type=_FILE, help="The Workload API.  [default: agent.sock in the data directory]")
@_option(
    "--docker-socket",
    type=_FILE,
    default="/var/run/docker.sock",
    show_default=True,
    help="To know callers in containers.",
)
@_option("--workloads", type=_FILE, help="What to run (JSON); SIGHUP reads it again.")
@_option("--no-envoy", is_flag=True, help="Identities only: start no sidecar.")
@_option("--envoy", "envoy_path", default="", help="The Envoy to run.")
@_option("--drain-seconds", default=5.0, show_default=True, help="How long requests may go on at a stop.")
def run(
    server: str,
    token: str,
    token_file: Path | None,
    x509pop_cert: Path | None,
    x509pop_key: Path | None,
    oidc_token_file: Path | None,
    data_dir: Path,
    socket: Path | None,
    docker_socket: Path,
    workloads: Path | None,
    no_envoy: bool,
    envoy_path: str,
    drain_seconds: float,
) -> None:
    """Join the mesh and keep this machine's workloads in it.

    Each option can be given in the environment: --data-dir as PYLIS_AGENT_DATA_DIR. An invitation (pylis token
    create --invitation) is no secret: the machine proves itself by a certificate or an ID token, again when asked.

    \b
    Example:
      pylis agent run --token "$(pylis token create --agent web-1)" --data-dir /var/lib/pylis-agent
    """
    import structlog

    from agent import envoy
    from agent.attest import AttestError
    from agent.evidence import EvidenceFiles
    from agent.run import AgentConfig, BusyError, main
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
        text = token or (token_file.read_text().strip() if token_file and token_file.exists() else "")
        joining = JoinToken.decode(text) if text else None
        if (x509pop_cert is None) is not (x509pop_key is None):
            raise click.UsageError("--x509pop-cert and --x509pop-key go together")
        evidence = EvidenceFiles(x509pop_cert, x509pop_key, oidc_token_file)
        if server and not server.rpartition(":")[2].isdecimal():
            raise click.UsageError(f"--server {server!r} is no HOST:PORT")
        if server and joining:
            joining = replace(joining, api=server)
        data_dir = data_dir.absolute()
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o711)  # others reach the socket, and see nothing
        where = envoy.short_path((socket or data_dir / "agent.sock").absolute())
        path = "" if no_envoy or workloads is None else envoy.find(envoy_path)
        config = AgentConfig(
            data_dir, where, joining, workloads, no_envoy, path, drain_seconds, evidence, docker_socket
        )
        asyncio.run(main(config, path))
    except (TokenError, BusyError, envoy.EnvoyMissingError) as error:
        raise click.UsageError(str(error)) from error
    except AttestError as error:
        click.echo(str(error), err=True)
        raise SystemExit(3) from error
    except OSError as error:
        raise click.UsageError(f"cannot use {error.filename or data_dir}: {error.strerror}") from error
