"""`pylis token create`: a join token for one agent."""

from __future__ import annotations

from collections.abc import Callable

import click

from controlplane.cli.client import Client, options
from controlplane.cli.output import Failure, emit, format_option


@click.group()
def token() -> None:
    """Join tokens for agents: single use, expiring, bound to this control plane's root."""


@token.command()
@click.option("--agent", default="", help="The name the agent will have.")
@click.option("--invitation", is_flag=True, help="No secret: the agent proves itself by x509pop or OIDC.")
@click.option("--ttl", default="10m", show_default=True, help="How long the token may be used.")
@format_option
@options
def create(agent: str, invitation: bool, ttl: str, output: str, client: Callable[[], Client]) -> None:
    """Make a join token. It is shown once.

    \b
    Example:
      pylis agent run --token "$(pylis token create --agent web-1)"
      pylis agent run --token "$(pylis token create --invitation)" --x509pop-cert host.pem --x509pop-key host.key
    """
    from controlplane.resources.workload_registration import duration

    if bool(agent) == invitation:
        raise Failure("give --agent NAME for a join token, or --invitation", hint="pylis token create --help")
    if invitation:
        answer = client().request("POST", "/pylis/v1/tokens", {})
        emit(answer, output, lambda: [answer["token"]])
        return
    life = duration(ttl)
    if life is None:
        raise Failure(f'--ttl "{ttl}" is no time', hint="for example 10m")
    answer = client().request(
        "POST", "/pylis/v1/tokens", {"agent": agent, "ttlSeconds": int(life.total_seconds())}
    )
    emit(answer, output, lambda: [answer["token"]])
