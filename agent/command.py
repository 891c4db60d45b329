"""`pylis agent run`: the agent in the foreground."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import click


@click.group()
def agent() -> None:
    """Run beside workloads: attest this machine, issue identities, supervise Envoy."""


@agent.command()
@click.option("--token", default="", envvar="PYLIS_AGENT_TOKEN", help="A join token; needed once.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    envvar="PYLIS_AGENT_TOKEN_FILE",
    help="A file with the join token.",
)
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=Path(".pylis/agent"),
    show_default=True,
    envvar="PYLIS_AGENT_DATA_DIR",
    help="The agent's own key and its state.",
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    envvar="PYLIS_AGENT_SOCKET",
    help="The Workload API's socket.  [default: agent.sock in the data directory]",
)
@click.option(
    "--workloads",
    type=click.Path(path_type=Path),
    envvar="PYLIS_AGENT_WORKLOADS",
    help="What to run (JSON); SIGHUP reads it again.",
)
@click.option("--no-envoy", is_flag=True, help="Identities only: start no sidecar.")
@click.option("--envoy", "envoy_path", default="", envvar="PYLIS_AGENT_ENVOY", help="The Envoy to run.")
@click.option(
    "--drain-seconds", default=5.0, show_default=True, help="How long a sidecar may finish requests on stop."
)
def run(
    token: str, token_file: Path | None, data_dir: Path, socket: Path | None, workloads: Path | None,
    no_envoy: bool, envoy_path: str, drain_seconds: float,
) -> None:  # fmt: skip
    """Join the mesh and keep this machine's workloads in it.

    \b
    Example:
      pylis agent run --token "$(pylis token create --agent web-1)" --data-dir /var/lib/pylis-agent
    """
    import structlog

    from agent import envoy
    from agent.attest import AttestError
    from agent.run import AgentConfig, main
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
        data_dir = data_dir.absolute()
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        where = envoy.short_path((socket or data_dir / "agent.sock").absolute())
        path = "" if no_envoy or workloads is None else envoy.find(envoy_path)
        config = AgentConfig(data_dir, where, joining, workloads, no_envoy, path, drain_seconds)
        asyncio.run(main(config, path))
    except TokenError as error:
        raise click.UsageError(str(error)) from error
    except envoy.EnvoyMissingError as error:
        raise click.UsageError(str(error)) from error
    except AttestError as error:
        click.echo(str(error), err=True)
        raise SystemExit(3) from error
    except OSError as error:
        raise click.UsageError(f"cannot use {error.filename or data_dir}: {error.strerror}") from error
