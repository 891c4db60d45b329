"""The `pylis` command: a table of verbs, each loaded only when it is called.

A verb's module imports what it needs; the table keeps `pylis --help` quick and the packages
(`agent`, `demo`) independent of each other.
"""

from __future__ import annotations

import click

from controlplane.cli.lazy import LazyCommands

COMMANDS: dict[str, tuple[str, str]] = {
    # verb: (module:function, short help)
    "demo": ("demo.command:demo", "Run the demo mesh on this machine and watch it allow and deny."),
    "up": ("controlplane.cli.up:up", "Run a mesh from one file: each workload a command with a sidecar."),
    "down": ("controlplane.cli.up:down", "Stop the mesh that `up` started here."),
    "server": ("controlplane.cli.server:server", "Run the control plane."),
    "agent": ("controlplane.cli.agents:agent", "Run beside workloads; see and cut off those that joined."),
    "doctor": ("controlplane.cli.doctor:doctor", "Check this machine, the server, the containers."),
    "compose": ("controlplane.cli.compose:compose", "Mesh a compose project, and take it out again."),
    "observed": ("controlplane.cli.observed:observed", "Who would have been refused what, were it enforced."),
    "enforce": ("controlplane.cli.observed:enforce", "Refuse what policy refuses, a service at a time."),
    "docker": ("agent.docker.command:docker", "Mesh containers by label, through the engine."),
    "apply": ("controlplane.cli.apply:apply", "Create or change resources from files."),
    "get": ("controlplane.cli.get:get", "Show resources."),
    "delete": ("controlplane.cli.delete:delete", "Delete resources."),
    "diff": (
        "controlplane.cli.export:diff",
        "What applying files would change; what changed since a revision.",
    ),
    "export": ("controlplane.cli.export:export", "Print everything that is declared as clean YAML."),
    "history": ("controlplane.cli.history:history", "The kept revisions of an object: when, who, what."),
    "rollback": ("controlplane.cli.history:rollback", "Make an object what it was at a revision."),
    "backup": ("controlplane.cli.backup:backup", "Copy the store while the server runs."),
    "restore": ("controlplane.cli.backup:restore", "Put a backup in the store's place."),
    "login": ("controlplane.cli.login:login", "Log in by an OpenID provider; kubectl comes with it."),
    "token": ("controlplane.cli.token:token", "Join tokens for agents; bearer tokens for people."),
    "identity": ("controlplane.cli.identity:identity", "Which processes may be whom; revocation."),
    "svid": ("controlplane.cli.svid:svid", "Mint, show and verify SVIDs."),
    "ca": ("controlplane.cli.ca:ca", "The authorities: rotate, taint, revoke."),
    "federation": ("controlplane.cli.federation:federation", "Foreign trust domains and their bundles."),
    "bundle": ("controlplane.cli.bundle:bundle", "The trust bundle."),
    "proxy": ("controlplane.cli.proxy:proxy", "What each sidecar holds."),
    "explain": ("controlplane.cli.explain:explain", "Say which rule decides a request, and why."),
    "why": ("controlplane.cli.why:why", "Say what decided a request, by its id."),
    "validate": ("controlplane.cli.validate:validate", "Say what the API would refuse, offline."),
    "audit": (
        "controlplane.cli.audit:audit",
        "Who changed what, and who was refused; check that nobody rewrote it.",
    ),
    "schema": ("controlplane.cli.schema:schema", "JSON Schemas for editors; the attributes of conditions."),
    "policy": ("controlplane.cli.policy:policy", "Test, lint, compare and describe policies."),
    "grpc-bootstrap": (
        "controlplane.cli.grpc_bootstrap:grpc_bootstrap",
        "Print a bootstrap for gRPC without a sidecar.",
    ),
    "bench": ("controlplane.cli.bench:bench", "Load a control plane with simulated sidecars."),
    "kubeconfig": ("controlplane.cli.kubeconfig:kubeconfig", "Print a kubeconfig for kubectl."),
    "completion": ("controlplane.cli.completion:completion", "Print a completion script for your shell."),
}


@click.command(cls=LazyCommands, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pylis")
def main() -> None:
    """Pylis: a zero-trust service mesh control plane in miniature.

    Start here:  pylis demo
    """
