"""`pylis token create`: a join token for one agent."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import click

from controlplane.cli.client import Client, options
from controlplane.cli.output import Failure, columns, emit, format_option


@click.group()
def token() -> None:
    """Join tokens for agents (create), bearer tokens of people and machines (issue, list, revoke)."""


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


@token.command()
@click.option("--user", required=True, help="Who the holder is, as roles are bound to.")
@click.option("--group", "groups", multiple=True, help="A group of theirs; may be given several times.")
@click.option("--ttl", default="12h", show_default=True, help="How long the token is good.")
@format_option
@options
def issue(user: str, groups: tuple[str, ...], ttl: str, output: str, client: Callable[[], Client]) -> None:
    """Make a bearer token for the API. It is shown once; what it may do is said by RoleBindings.

    \b
    Example:
      pylis token issue --user ann --group shop-team --ttl 8h
    """
    from controlplane.resources.workload_registration import duration

    life = duration(ttl)
    if life is None:
        raise Failure(f'--ttl "{ttl}" is no time', hint="for example 12h")
    body = {"user": user, "groups": list(groups), "ttlSeconds": int(life.total_seconds())}
    answer = client().request("POST", "/pylis/v1/apitokens", body)
    emit(answer, output, lambda: [answer["token"]])


@token.command("list")
@format_option
@options
def list_(output: str, client: Callable[[], Client]) -> None:
    """Show who holds bearer tokens. The tokens themselves are kept nowhere.

    \b
    Example:
      pylis token list
    """
    items = client().request("GET", "/pylis/v1/apitokens")["items"]
    rows = [[i["id"], i["user"], ",".join(i["groups"]), i["created"], i["expires"] or "never"] for i in items]
    emit(items, output, lambda: columns(("ID", "USER", "GROUPS", "CREATED", "EXPIRES"), rows))


@token.command()
@click.argument("id_", metavar="ID")
@options
def revoke(id_: str, client: Callable[[], Client]) -> None:
    """End a bearer token at once, by the ID that list shows.

    \b
    Example:
      pylis token revoke 3f9a0c11d2e4
    """
    gone = client().request("DELETE", f"/pylis/v1/apitokens/{quote(id_, safe='')}")
    click.echo(f"the token {gone['id']} of {gone['user']} is revoked")
