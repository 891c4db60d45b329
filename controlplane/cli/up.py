"""`pylis up` and `pylis down`: a mesh on this machine from one file."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import click

from controlplane.cli.output import Failure, colour_wanted, fail_with

_COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_yellow")
_STATE = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".pylis"),
    show_default=True,
    envvar="PYLIS_STATE_DIR",
    help="Keys, store and logs of the mesh.",
)


@click.command()
@click.option(
    "-f", "--file", "file", type=click.Path(path_type=Path), default=Path("mesh.yaml"), show_default=True
)
@_STATE
@click.option(
    "--access-log",
    type=click.Choice(["off", "denied", "all"]),
    default="denied",
    show_default=True,
    help="Which requests sidecars log.",
)
@click.option("--no-logs", is_flag=True, help="Do not show what the workloads print.")
def up(file: Path, state_dir: Path, access_log: str, no_logs: bool) -> None:
    """Run a mesh from one file: each workload a command, beside it an Envoy. Ctrl-C stops everything.

    \b
    Example:
      pylis up -f mesh.yaml
    """
    from controlplane.local import session
    from controlplane.local.mesh_file import parse
    from controlplane.resources.read import read_paths

    documents, problems = read_paths([file])
    mesh = None
    if len(documents) == 1:
        mesh, found = parse(documents[0])
        problems += found
    elif not problems:
        raise Failure(f"{file} must hold one document with workloads")
    if mesh is None or any(p.is_error for p in problems):
        raise fail_with([p for p in problems if p.is_error], "nothing was started.")

    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with session.Session(mesh, file, state_dir, _say, access_log) as running:
            _say("policies", "  ".join(mesh.policies) or "none")
            click.echo(
                f"up: {len(running.placed)} workloads; logs in {running.logs}; Ctrl-C stops everything",
                err=True,
            )
            _follow(running, [file.parent / p for p in mesh.policies], show=not no_logs)
    except KeyboardInterrupt:
        click.echo("stopped.", err=True)


@click.command()
@_STATE
def down(state_dir: Path) -> None:
    """Stop the mesh that `up` started here.

    \b
    Example:
      pylis down
    """
    from controlplane.local.running import stop_other

    if stop_other(state_dir):
        click.echo("stopped.")
    else:
        click.echo(f"no mesh is running in {state_dir}.")


def _follow(running: Any, policy_paths: list[Path], *, show: bool) -> None:
    from controlplane.local.watched_files import changes

    changed = changes(policy_paths)
    with ExitStack() as stack:
        tail = _tail(running.logs, stack) if show else None
        while True:
            running.revive()
            if next(changed):
                try:
                    for line in running.apply_policies():
                        if not line.endswith("unchanged"):
                            _say("policies", line)
                except Failure as failure:
                    failure.show()
            if tail is not None:
                for line in next(tail):
                    click.echo(line)
            time.sleep(0.02)


def _tail(logs: Path, stack: ExitStack) -> Iterator[list[str]]:
    """New lines of every log, each with its workload's name."""
    files: dict[Path, IO[str]] = {}
    while True:
        lines: list[str] = []
        for path in sorted(logs.glob("*.log")):
            if path.name.endswith(".envoy.log") or path.name in ("server.log", "agent.log"):
                continue
            if path not in files:
                files[path] = stack.enter_context(path.open(errors="replace"))
            name = path.name.removesuffix(".log").removesuffix(".access")
            label = f"{name:<18}"
            if colour_wanted():
                label = click.style(label, fg=_COLOURS[hash(name) % len(_COLOURS)])
            lines += [f"{label} {line.rstrip()}" for line in files[path]]
        yield lines


def _say(step: str, detail: str) -> None:
    click.echo(f"  {step:<14} {detail}", err=True)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
