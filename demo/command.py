"""`pylis demo`: the shop, its traffic with the deciding rules, or with --once every expectation as a test."""

from __future__ import annotations

import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from demo.expectation import Held
    from demo.mesh import DemoMesh
    from demo.observing import Typed


@click.command()
@click.option("--once", is_flag=True, help="Run every expectation, print what held, leave nothing running.")
@click.option("--containers", is_flag=True, help="In containers, by docker compose, instead of processes.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".pylis"),
    show_default=True,
    help="Removed at the end.",
)
def demo(once: bool, containers: bool, output: str, state_dir: Path) -> None:
    """Run the demo mesh: six services and an intruder, each behind a real Envoy, on this machine only.

    \b
    Example:
      pylis demo --once -o json
    """
    from demo.expectation import load
    from demo.local_way import LocalWay
    from demo.mesh import DemoError, DemoMesh
    from demo.run import Runner

    signal.signal(signal.SIGTERM, _interrupt)
    if containers:
        sys.exit(_in_containers(output, once=once))
    click.echo(
        "Pylis demo: a shop of 6 services and an intruder, each behind its own Envoy, on this machine only.",
        err=True,
    )
    try:
        with DemoMesh(state_dir) as mesh:
            if once:
                sys.exit(run(Runner(LocalWay(mesh)).run(load()), output))
            _live(mesh)
    except DemoError as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("stopped; nothing is left behind.", err=True)


def _in_containers(output: str, *, once: bool) -> int:
    """The same shop by docker compose: every expectation, or the frontend's own calls until Ctrl-C; with either, a
    service on its way from observe to enforce.
    """
    from demo import observing
    from demo.container_way import ContainerWay, expectations
    from demo.containers import ContainerMesh
    from demo.mesh import DemoError
    from demo.run import Runner

    click.echo(
        "Pylis demo: five services, their frontend and an intruder in containers, each behind its own Envoy.",
        err=True,
    )
    try:
        with ContainerMesh() as mesh:
            path = observing.Observing(mesh)
            steps = chain([_PATH], path.run(observing.expectations()))
            if once:
                table = Runner(ContainerWay(mesh)).run(expectations())
                return run(chain(table, steps), output, lambda: {"observed": path.refusals})
            click.echo("Ctrl-C stops everything and leaves nothing behind.", err=True)
            if run(steps, "table"):
                return 1
            mesh.follow("frontend")
    except DemoError as error:
        click.echo(str(error), err=True)
        return 2
    except KeyboardInterrupt:
        click.echo("stopped; nothing is left behind.", err=True)
    return 0


def run(steps: Iterable[str | Typed | Held], output: str, more: Callable[[], dict[str, Any]] = dict) -> int:
    """As it happens, or as JSON in the end, with `more`; what is no expectation is for people only."""
    from demo.expectation import Held

    started = time.monotonic()
    held: list[Held] = []
    for step in steps:
        if isinstance(step, Held):
            held.append(step)
        if output == "table":
            click.echo(_row(step) if isinstance(step, Held) else _said(step))
    failed = [h for h in held if not h.ok]
    count = {"held": len(held) - len(failed), "failed": len(failed)}
    if output == "json":
        click.echo(json.dumps({"expectations": [h.as_json() for h in held], **count, **more()}, indent=1))
    else:
        click.echo(f"{count['held']} held, {count['failed']} failed, {time.monotonic() - started:.1f} s")
    for h in failed:
        e = h.expectation
        text = f"no longer holds: {e.id}: expected {e.expect} by {e.rule}, was {h.outcome.actual} by {h.rule or 'nothing'}"
        click.echo(text, err=True)
    return 1 if failed else 0


def _row(h: Held) -> str:
    e, o = h.expectation, h.outcome
    mark = "√" if h.ok else "×"
    because = f"would be refused: {h.rule}" if h.ok and e.would_be_refused else h.rule
    return f"{mark} {e.id:<36} {e.source:<16} → {e.to:<14} {o.actual:<8} {because}"


def _said(step: str | Typed) -> str:
    if isinstance(step, str):
        return step
    return "\n".join([f"$ {step.command}", *(f"  {line}".rstrip() for line in step.said.splitlines())])


def _live(mesh: DemoMesh) -> None:
    """Traffic until Ctrl-C: allowed and denied, each with the rule and where it is written."""
    from demo.expectation import load
    from demo.local_way import LocalWay
    from demo.run import Runner

    click.echo(_HINTS.format(kubeconfig=mesh.kubeconfig), err=True)
    everyday = [e for e in load() if e.how in ("http", "grpc", "tcp", "plaintext")]
    runner = Runner(LocalWay(mesh))
    places = _rule_places()
    click.echo(f"  {'time':<9} {'from':<16} {'to':<46} {'verdict':<8} because")
    while True:
        mesh.check_alive()
        for h in runner.run(random.sample(everyday, 1)):
            e, o = h.expectation, h.outcome
            request = f"{e.method} {e.to}{e.path}" if e.how != "tcp" else f"TCP {e.to}"
            verdict = o.actual if o.actual == "allow" else o.actual.upper()
            where = places.get(h.rule.removeprefix("default-deny:").partition("[")[0], "")
            click.echo(
                f"  {time.strftime('%H:%M:%S'):<9} {e.source:<16} {request:<46} {verdict:<8} {h.rule}  {where}"
            )
        time.sleep(0.7)


def _rule_places() -> dict[str, str]:
    """`namespace/policy` → file:line of its definition."""
    from demo.mesh import HERE

    places: dict[str, str] = {}
    for file in sorted((HERE / "policies").glob("*.yaml")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if line.startswith("metadata:"):
                words = line.replace("{", " ").replace("}", " ").replace(",", " ").split()
                places[f"{words[4]}/{words[2]}"] = f"{file.parent.parent.name}/policies/{file.name}:{number}"
    return places


_PATH = "\nFrom observe to enforce, as a service of your own would go; one connection stays open all the way:"

_HINTS = """
Try:  pylis explain intruder orders --method GET --path /     why, and what would allow it
      kubectl --kubeconfig {kubeconfig} get authorizationpolicies -A
      edit demo/policies/catalog.yaml: it is in force a moment after you save
Ctrl-C stops everything and leaves nothing behind.
"""


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
