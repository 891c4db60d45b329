"""`pylis why`: the decision behind one request, from the access logs of sidecars."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from controlplane.cli.access_log import Line, deciding, find
from controlplane.cli.client import Client, options
from controlplane.cli.explain_answer import Answer, answer
from controlplane.cli.explain_question import PLAINTEXT, Words, ask
from controlplane.cli.mesh_source import fetch_mesh, read_mesh
from controlplane.cli.output import Exit, Failure, aligned, emit, format_option
from policies.values import SPIFFE_SCHEME


@click.command()
@click.argument("request_id", metavar="REQUEST_ID")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    default=Path(".pylis"),
    show_default=True,
    envvar="PYLIS_STATE_DIR",
    help="Of a mesh that `pylis up` runs: where its logs are.",
)
@click.option(
    "--log", "logs", multiple=True, help="An access log instead, or - for standard input; may be repeated."
)
@click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    type=click.Path(exists=True),
    help="Explain by files, not by the server.",
)
@format_option
@options
@click.pass_context
def why(
    context: click.Context,
    request_id: str,
    state_dir: Path,
    logs: tuple[str, ...],
    files: tuple[str, ...],
    output: str,
    client: Callable[[], Client],
) -> None:
    """Say what decided a request, by the x-request-id of its answer.

    Exit code 0: it was found, 1: no log has it.

    \b
    Example:
      pylis why 5b29dd20-600e-4a4e-8da3-a3fa6369bf98
      docker logs orders-sidecar | pylis why 5b29dd20 --log -
    """
    if len(request_id) < 8:
        raise Failure(
            "a request id has at least 8 characters", hint="it is the x-request-id header of the answer"
        )
    found = [line for name, lines in _logs(state_dir, logs) for line in find(request_id, name, lines)]
    decided = deciding(found)
    if decided is None:
        hint = "only refused requests are logged unless the mesh runs with --access-log all"
        raise Failure(f"no log has the request {request_id}", hint=hint, code=Exit.NO)
    explained = _explain(decided, files, client)
    body = {
        "decision": decided.to_json(),
        "lines": [line.to_json() for line in found],
        "explanation": explained.to_json() if explained else None,
    }
    emit(body, output, lambda: _words(decided, found, explained))


def _logs(state_dir: Path, logs: Sequence[str]) -> Iterable[tuple[str, Iterable[str]]]:
    """Each log with the workload whose sidecar wrote it. Raises: Failure."""
    if logs:
        for name in logs:
            yield ("", sys.stdin) if name == "-" else (Path(name).name, _read(Path(name)))
        return
    try:
        mesh: Any = json.loads((state_dir / "mesh.json").read_text())
    except (OSError, ValueError) as error:
        hint = "start one with pylis up, or name a log: --log FILE"
        raise Failure(f"no mesh runs in {state_dir}", hint=hint) from error
    for name, workload in mesh["workloads"].items():
        file = Path(workload["accessLog"])
        if file.exists():
            yield name, _read(file)


def _read(file: Path) -> list[str]:
    """Raises: Failure."""
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError as error:
        raise Failure(f"{file} cannot be read: {error.strerror}") from error


def _words_of(line: Line) -> Words:
    """The request of a line as a question; headers are not logged."""
    host = line.host.partition(":")[0]
    caller = f"{SPIFFE_SCHEME}{line.peer}" if line.peer else PLAINTEXT if line.inbound else line.sidecar
    target = line.sidecar if line.inbound and line.sidecar else host
    port = line.port if line.inbound else int(line.host.partition(":")[2] or 80)
    return Words(caller, target, port=port, method=line.method, path=line.path, host=line.host)


def _explain(line: Line, files: Sequence[str], client: Callable[[], Client]) -> Answer | None:
    """What the policies of now say of the request; None where they cannot be asked."""
    try:
        mesh = read_mesh(files) if files else fetch_mesh(client, "")
        return answer(mesh, ask(mesh, _words_of(line)))
    except Failure:
        if files:
            raise
        return None


def _words(decided: Line, found: Sequence[Line], explained: Answer | None) -> list[str]:
    asked = _words_of(decided)
    verdict = "ALLOW" if decided.allowed else "DENY"
    rows = [
        ("", "rule", decided.rule or decided.details),
        ("", "from", asked.caller),
        ("", "at", f"{decided.time} by the sidecar of {decided.sidecar or 'the log'}"),
    ]
    way = [
        ("", line.direction, line.sidecar, str(line.status), line.details, f"{line.milliseconds} ms")
        for line in sorted(found, key=lambda line: line.time)
    ]
    command = ["pylis", "explain", asked.caller, asked.target, "--port", str(asked.port)]
    command += ["--method", asked.method, "--path", asked.path, "--host", asked.host]
    lines = [f"{verdict} {decided.status}  {decided.method} {decided.path} → {decided.host}", *aligned(rows)]
    lines += ["", "  its way:", *(f"  {line}" for line in aligned(way)), ""]
    if explained is None:
        return [*lines, f"  why, by the policies of now:  {shlex.join(command)}"]
    return [*lines, "  by the policies of now (headers are not logged):", *explained.lines()]
