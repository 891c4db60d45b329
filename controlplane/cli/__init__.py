"""The `pylis` command: a table of verbs, each loaded only when it is called.

A verb's module imports what it needs; the table keeps `pylis --help` quick and the packages
(`agent`, `demo`) independent of each other.
"""

from __future__ import annotations

from importlib import import_module

import click

COMMANDS: dict[str, tuple[str, str]] = {
    # verb: (module:function, short help)
    "demo": ("demo.command:demo", "Run the demo mesh on this machine and watch it allow and deny."),
    "up": ("controlplane.cli.up:up", "Run a mesh from one file: each workload a command with a sidecar."),
    "down": ("controlplane.cli.up:down", "Stop the mesh that `up` started here."),
    "server": ("controlplane.cli.server:server", "Run the control plane."),
    "agent": ("agent.command:agent", "Run beside workloads: attest, issue, supervise Envoy."),
    "apply": ("controlplane.cli.apply:apply", "Create or change resources from files."),
    "get": ("controlplane.cli.get:get", "Show resources."),
    "delete": ("controlplane.cli.delete:delete", "Delete resources."),
    "token": ("controlplane.cli.token:token", "Join tokens for agents."),
    "svid": ("controlplane.cli.svid:svid", "Mint, show and verify SVIDs."),
    "bundle": ("controlplane.cli.bundle:bundle", "The trust bundle."),
    "proxy": ("controlplane.cli.proxy:proxy", "What each sidecar holds."),
    "explain": ("controlplane.cli.explain:explain", "Say which rule decides a request, and why."),
    "validate": ("controlplane.cli.validate:validate", "Say what the API would refuse, offline."),
    "policy": ("controlplane.cli.policy:policy", "Test policies offline."),
    "audit": (
        "controlplane.cli.audit:audit",
        "Who changed what, and who was refused; check that nobody rewrote it.",
    ),
    "kubeconfig": ("controlplane.cli.kubeconfig:kubeconfig", "Print a kubeconfig for kubectl."),
    "completion": ("controlplane.cli.completion:completion", "Print a completion script for your shell."),
}


class LazyCommands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}:{attribute} is no click command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command(cls=LazyCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pylis")
def main() -> None:
    """Pylis: a zero-trust service mesh control plane in miniature.

    Start here:  pylis demo
    """
