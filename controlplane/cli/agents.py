"""`pylis agent`: run one here, and see or cut off those that joined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from controlplane.cli.client import Client, options
from controlplane.cli.lazy import LazyCommands
from controlplane.cli.output import columns, emit, format_option

_TABLE: Final = {
    "run": ("agent.command:run", "Join the mesh and keep this machine's workloads in it."),
    "install": (
        "agent.vm.command:install",
        "Mesh this machine (a VM): agent, Envoy and interception as systemd units.",
    ),
    "try": ("agent.vm.command:try_", "Load the rules that were installed, on trial."),
    "confirm": ("agent.vm.command:confirm", "Keep the rules on trial; unconfirmed, they are taken back."),
    "uninstall": ("agent.vm.command:uninstall", "Take this machine out of the mesh, whole."),
    "list": ("controlplane.cli.agents:list_agents", "The agents that joined."),
    "ban": ("controlplane.cli.agents:ban", "Cut an agent off; it cannot join again."),
    "evict": ("controlplane.cli.agents:evict", "Cut an agent off; it may join again with fresh evidence."),
}


@click.command(cls=LazyCommands, table=_TABLE)
def agent() -> None:
    """Run beside workloads: attest this machine, issue identities, supervise Envoy."""


@click.command("list")
@format_option
@options
def list_agents(output: str, client: Callable[[], Client]) -> None:
    """Show every agent that joined: how, since when, whether it is connected.

    \b
    Example:
      pylis agent list
    """
    answer = client().request("GET", "/pylis/v1/agents")

    def table() -> list[str]:
        rows = [
            [one["name"], one["state"], one["method"], one["attested"], one["reason"]]
            for one in answer["items"]
        ]
        return columns(["AGENT", "STATE", "JOINED BY", "AT", "NOTE"], rows) if rows else ["no agent joined"]

    emit(answer, output, table)


@click.command()
@click.argument("name")
@click.option("--reason", default="", help="Why; it stands in the audit log, and the agent is told.")
@format_option
@options
def ban(name: str, reason: str, output: str, client: Callable[[], Client]) -> None:
    """End an agent's stream, sign nothing more for it, and refuse it when it attests again.

    What it handed out stays valid until it expires: cut identities off with pylis identity revoke.

    \b
    Example:
      pylis agent ban web-1 --reason "disk image was copied"
    """
    answer = client().request("POST", "/pylis/v1/agents/ban", {"agent": name, "reason": reason})
    undo = f"it is cut off; pylis agent evict {name} lets it join again"
    emit(answer, output, lambda: [f"agent/{name} banned", f"  {undo}"])


@click.command()
@click.argument("name")
@format_option
@options
def evict(name: str, output: str, client: Callable[[], Client]) -> None:
    """End an agent's stream and forget it: it has to attest again. Lifts a ban.

    \b
    Example:
      pylis agent evict web-1
    """
    answer = client().request("POST", "/pylis/v1/agents/evict", {"agent": name})
    again = f'it joins again with a new token: pylis token create --agent "{name}"'
    emit(answer, output, lambda: [f"agent/{name} evicted", f"  {again}"])
