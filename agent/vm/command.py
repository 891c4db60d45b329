"""`pylis agent install`, `try`, `confirm`, `uninstall`: a machine with systemd as one workload of the mesh."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Final

import click

from agent.vm.files import RESOURCES, SYSTEMD, File
from agent.vm.host import OUTBOUND, SLICE, Answers, Host, check
from agent.vm.machine import Machine, MachineError, hidden_from_others, uid_of
from agent.vm.units import CONFIRMED, TRIAL, Programs
from ca.attest.join_token import JoinToken
from ca.errors import TokenError

_FILE: Final = click.Path(path_type=Path)
_PATH: Final = re.compile(r"/[A-Za-z0-9._+/@-]+", re.ASCII)
_ROOT: Final = click.option(
    "--root", type=_FILE, default=Path("/"), help="Write below this directory, and run nothing."
)
_WAIT: Final = click.option(
    "--wait-seconds",
    default=30.0,
    show_default=True,
    help="How long the sidecar may take until it is configured.",
)
_WHEN_HEALTHY: Final = click.option(
    "--confirm-when-healthy",
    is_flag=True,
    help="Confirm without a person: when agent, sidecar and a new connection to the control plane are well.",
)


@click.command()
@click.option("--token-file", type=_FILE, required=True, help="A file with this machine's join token.")
@click.option("--workload", required=True, help="NAMESPACE/NAME, unique in the mesh.")
@click.option("--service-account", default="", help="Its identity.  [default: NAME]")
@click.option("--address", required=True, help="Where its peers reach this machine.")
@click.option(
    "--network", "networks", multiple=True, help="A network of the mesh's machines; may be repeated."
)
@click.option(
    "--port", "ports", multiple=True, help="PROTOCOL:PORT it serves, like http:8080; may be repeated."
)
@click.option("--user", "users", multiple=True, help="Whose connections are intercepted; may be repeated.")
@click.option(
    "--slice", "in_slice", is_flag=True, help=f"Intercept what runs in {SLICE} (Slice={SLICE} in a unit)."
)
@click.option("--host", "hosts", multiple=True, help="One more name it is called by; may be repeated.")
@click.option(
    "--leave-out", "left_out", multiple=True, type=int, help="A port its users reach past the sidecar."
)
@click.option("--ssh-port", "ssh_ports", multiple=True, type=int, help="Where sshd listens here, beside 22.")
@click.option("--outbound", type=click.Choice(OUTBOUND), default=OUTBOUND[0], show_default=True)
@click.option(
    "--rollback-seconds", default=60, show_default=True, help="Unconfirmed rules are taken back after this."
)
@click.option("--envoy", "envoy_path", default="", help="The Envoy to run.")
@click.option("--dry-run", is_flag=True, help="Print what would be written and run; change nothing.")
@_ROOT
@_WAIT
@_WHEN_HEALTHY
def install(
    token_file: Path,
    workload: str,
    service_account: str,
    address: str,
    networks: tuple[str, ...],
    ports: tuple[str, ...],
    users: tuple[str, ...],
    in_slice: bool,
    hosts: tuple[str, ...],
    left_out: tuple[int, ...],
    ssh_ports: tuple[int, ...],
    outbound: str,
    rollback_seconds: int,
    envoy_path: str,
    dry_run: bool,
    root: Path,
    wait_seconds: float,
    confirm_when_healthy: bool,
) -> None:
    """Put this machine into the mesh as one workload, by systemd units of its own.

    TCP of the users (or of what runs in the slice) and of the ports that are named goes through the sidecar; nothing
    else does, and ssh never. The rules come on trial: unconfirmed, they are taken back by themselves.

    \b
    Example:
      pylis agent install --token-file token --workload shop/orders-1 --service-account orders \\
        --address 10.0.0.5 --network 10.0.0.0/24 --user orders --port http:8080
      pylis agent confirm
    """
    from agent.vm.files import files

    machine, token = Machine(root.absolute()), _token(token_file)
    answers = Answers(
        workload, service_account, address, networks, ports, users, {user: uid_of(user) for user in users},
        in_slice, left_out, _with_own_session(ssh_ports), hosts, outbound, rollback_seconds,
    )  # fmt: skip
    host = check(answers, token)
    if not isinstance(host, Host):
        many = f"{len(host)} problem{'s' * (len(host) != 1)}; nothing was changed."
        raise click.UsageError("\n".join([many, *(f"  {problem}" for problem in host)]))
    written = files(host, token, _programs(envoy_path, real=machine.is_here and not dry_run))
    if dry_run:
        _show(written, here=machine.is_here)
        return
    try:
        machine.write(written)
        click.echo(
            f"{len(written)} files written below {machine.at(TRIAL).parent} and {machine.at(SYSTEMD)}",
            err=True,
        )
        if not machine.is_here:
            click.echo("nothing was started: this is another root", err=True)
            return
        machine.start()
        _try(machine, wait_seconds, host.trial_seconds, when_healthy=confirm_when_healthy)
    except MachineError as error:
        raise click.ClickException(str(error)) from error


@click.command("try")
@_WAIT
@_WHEN_HEALTHY
def try_(wait_seconds: float, confirm_when_healthy: bool) -> None:
    """Load the rules that were installed; they are taken back by themselves unless they are confirmed.

    \b
    Example:
      pylis agent try && pylis agent confirm
    """
    try:
        _try(Machine(Path("/")), wait_seconds, None, when_healthy=confirm_when_healthy)
    except MachineError as error:
        raise click.ClickException(str(error)) from error


@click.command()
@click.option("--when-healthy", is_flag=True, help="Only if agent, sidecar and control plane are well.")
def confirm(when_healthy: bool) -> None:
    """Keep the rules that are on trial, at each boot from here on.

    \b
    Example:
      pylis agent confirm
    """
    machine = Machine(Path("/"))
    try:
        if when_healthy and (wrong := machine.unhealthy()):
            raise click.ClickException(f"not confirmed: {wrong}")
        machine.confirm()
    except MachineError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"confirmed: {CONFIRMED} is loaded at each boot (undo: pylis agent uninstall)")


@click.command()
@_ROOT
@click.option("--dry-run", is_flag=True, help="Print what would be removed; change nothing.")
def uninstall(root: Path, dry_run: bool) -> None:
    """Take this machine out of the mesh: rules, units, files, and the agent's key.

    \b
    Example:
      pylis agent uninstall
    """
    from agent.vm.files import places

    machine = Machine(root.absolute())
    there = [place for place in places() if machine.at(place).exists()]
    if dry_run:
        for place in there:
            click.echo(f"remove {machine.at(place)}")
        return
    declared = machine.at(RESOURCES)
    text = declared.read_text() if declared.exists() else ""
    try:
        machine.remove(shutil.which("nft") or "nft", there)
    except MachineError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{len(there)} files removed; no rule, unit or key of Pylis is left on this machine", err=True)
    if text:
        click.echo(
            "what the control plane still has of it (pylis delete -f FILE, pylis agent evict NAME):", err=True
        )
        click.echo(text, nl=False)


def _try(machine: Machine, wait_seconds: float, trial_seconds: int | None, *, when_healthy: bool) -> None:
    """Rules in front of a sidecar that is not configured would be an outage, so there are none until it is."""
    click.echo(f"waiting up to {wait_seconds:g} s until the sidecar is configured", err=True)
    if wrong := machine.wait_until_healthy(wait_seconds):
        raise MachineError(
            f"no rules were loaded: {wrong}\n"
            f"  where your kubeconfig is:   pylis apply -f workload.yaml      (this machine's {RESOURCES})\n"
            f"  then here:                  pylis agent try"
        )
    machine.try_rules(shutil.which("nft") or "nft")
    if when_healthy:
        if wrong := machine.unhealthy():
            raise MachineError(f"not confirmed, the rules will be taken back: {wrong}")
        machine.confirm()
        click.echo("the rules are loaded and confirmed")
        return
    within = f" within {trial_seconds} s" if trial_seconds else ""
    click.echo(f"the rules are loaded, on trial. Can you still log in? Then{within}:   pylis agent confirm")


def _token(file: Path) -> JoinToken:
    try:
        return JoinToken.decode(file.read_text().strip())
    except OSError as error:
        raise click.UsageError(f"cannot read {file}: {error.strerror}") from error
    except (TokenError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file}: {error}") from error


def _with_own_session(ports: tuple[int, ...]) -> tuple[int, ...]:
    """sshd's port of the session this runs in, declared or not. Source: ssh(1), SSH_CONNECTION"""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return (*ports, int(words[3])) if len(words) == 4 and words[3].isdecimal() else ports


def _programs(envoy_path: str, *, real: bool) -> Programs:
    """`real`: they will run here, so they have to be there and every user has to be able to read them."""
    from agent import envoy

    try:
        found = envoy.find(envoy_path)
    except envoy.EnvoyMissingError as error:
        raise click.UsageError(str(error)) from error
    pylis = str(Path(sys.executable).with_name("pylis"))
    nft = shutil.which("nft") or "/usr/sbin/nft"
    for path in (pylis, sys.executable, found, nft):
        if not _PATH.fullmatch(path):
            raise click.UsageError(f"{path!r} cannot stand in a unit: install Pylis at a plain absolute path")
        if not real:
            continue
        if not Path(path).exists():
            raise click.UsageError(
                f"there is no {path}: apt-get install nftables, pipx install --global pylis"
            )
        if hidden := hidden_from_others(Path(path)):
            raise click.UsageError(
                f"{path} is below {hidden}, which the units cannot see: pipx install --global pylis"
            )
    if real and not Path("/run/systemd/system").exists():
        raise click.UsageError(
            "systemd does not run this machine: pylis agent install needs it (--root writes files only)"
        )
    return Programs(pylis, found, nft)


def _show(files: tuple[File, ...], *, here: bool) -> None:
    for file in files:
        kept = ", kept if it is there" if file.keep else ""
        click.echo(f"# {file.path} (mode {file.mode:04o}{kept})")
        click.echo("[redacted]\n" if file.secret else file.text)
    if here:
        click.echo("# then")
        click.echo("systemctl daemon-reload; enable and start the units; wait for the sidecar;")
        click.echo(f"start the rollback timer; nft -f {TRIAL}; pylis agent confirm keeps it")
