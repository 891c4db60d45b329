"""`pylis compose init|eject`: an override that meshes a compose project, and its removal."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import click
import yaml

from controlplane.cli.output import Failure
from controlplane.docker.compose import (
    FILE,
    MARK,
    Image,
    Json,
    Override,
    Settings,
    merged,
    namespace,
    override,
)

_DEFAULTS = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
_FILE = click.Path(path_type=Path, dir_okay=False)
_SECONDS = 1800


@click.group()
def compose() -> None:
    """Mesh a compose project, and take it out again."""


@compose.command()
@click.option(
    "-f",
    "--file",
    "files",
    type=_FILE,
    multiple=True,
    help="Your compose file; again for more.  [default: as compose looks for it]",
)
@click.option("-p", "--project", default="", help="The project's name.  [default: as compose names it]")
@click.option(
    "--mode",
    type=click.Choice(["observe", "enforce"]),
    default="observe",
    show_default=True,
    help="observe: nothing is refused yet.",
)
@click.option("--image", default="pylis:latest", show_default=True, help="The control plane's image.")
@click.option("--agent-image", default="pylis-agent:latest", show_default=True, help="The agent's image.")
def init(files: tuple[Path, ...], project: str, mode: str, image: str, agent_image: str) -> None:
    """Write compose.pylis.yml beside your compose file: your files are read, never changed.

    \b
    Example:
      pylis compose init && docker compose -f docker-compose.yml -f compose.pylis.yml up -d
    """
    paths = list(files) or [_found()]
    documents = [_read(path) for path in paths]
    whole = merged(documents)
    target = paths[0].parent / FILE
    if target.exists() and not target.read_text().startswith(MARK):
        raise Failure(f"{target} is not of pylis compose init; it is not overwritten", hint="move it away")
    settings = Settings(project or _project(paths[0], whole), mode, image, agent_image)
    command = _compose_command()
    base = [*command, "-p", settings.project, *(part for path in paths for part in ("-f", str(path)))]
    images = {
        name: _image(name, service, settings.project, base) for name, service in whole["services"].items()
    }
    made = override(whole, images, settings)
    if not made.meshed:
        reasons = "; ".join(f"{name}: {why}" for name, why in made.left_out) or "it has no services"
        raise Failure(f"nothing can be meshed: {reasons}")
    text = yaml.safe_dump(made.document, sort_keys=False, width=120)
    target.write_text(
        f"{MARK}: delete this file, or run pylis compose eject, to take the project out\n{text}"
    )
    _tell(made, target, paths, settings, command)


def _tell(made: Override, target: Path, paths: list[Path], settings: Settings, command: list[str]) -> None:
    click.echo(f"wrote {target}")
    for one in made.meshed:
        click.echo(f"  √ {one.service:<20} {', '.join(one.ports) or 'serves no port'}")
        for port in one.published:
            click.echo(
                f"      port {port} is published: callers from outside come in plain text, and neighbours can too"
            )
    for name, why in made.left_out:
        click.echo(f"  × {name:<20} left out: {why}")
    if settings.mode == "observe":
        files = " ".join(f"-f {path}" for path in [*paths, target])
        inside = f"{' '.join(command)} {files} exec pylis-control-plane"
        click.echo("  nothing is refused yet. Who would be:")
        click.echo(f"      pylis observed -p {settings.project}")
        click.echo("  and service by service, without a restart:")
        click.echo(f"      {inside} pylis enforce SERVICE -n {namespace(settings.project)}")
    click.echo("  outbound is ALLOW_ANY; the label pylis.io/outbound: REGISTRY_ONLY closes it")
    files = " ".join(f"-f {path}" for path in [*paths, target])
    click.echo(f"next:  {' '.join(command)} {files} up -d")
    click.echo("undo:  pylis compose eject, then the same without it")


@compose.command()
@click.option(
    "-f",
    "--file",
    "files",
    type=_FILE,
    multiple=True,
    help="Your compose file.  [default: as compose looks for it]",
)
@click.option("-p", "--project", default="", help="The project's name.  [default: as compose names it]")
def eject(files: tuple[Path, ...], project: str) -> None:
    """Take the project out of the mesh: compose.pylis.yml, its services, sidecars and volumes go.

    Your containers are closed from then on until the next `up` starts them as they were.

    \b
    Example:
      pylis compose eject && docker compose up -d --remove-orphans
    """
    first = files[0] if files else _found()
    target = first.parent / FILE
    if not target.exists():
        raise Failure(f"there is no {target}", hint="it was ejected, or pylis compose init never ran here")
    if not target.read_text().startswith(MARK):
        raise Failure(f"{target} is not of pylis compose init; it is not removed")
    name = project or _project(first, _read(first))
    for line in _removed(name):
        click.echo(line)
    target.unlink()
    click.echo(f"removed {target}")
    click.echo(f"next:  {' '.join(_compose_command())} -f {first} up -d --remove-orphans")
    click.echo(f"then:  docker volume rm {name}_pylis-gate   (your containers use it until then)")


def _removed(project: str) -> list[str]:
    """What of the mesh the engine held for a project, the agent first: it would make sidecars anew."""
    found: list[str] = []
    mine = f"label=com.docker.compose.project={project}"
    for service in ("pylis-agent", "pylis-policies", "pylis-control-plane"):
        found += _docker(
            "ps", "-aq", "--filter", mine, "--filter", f"label=com.docker.compose.service={service}"
        )
    sidecars = _docker("ps", "-aq", "--filter", f"label=pylis.io/project={project}")
    for container in found:
        _docker("rm", "-f", "-v", container)
    sidecars += [
        one
        for one in _docker("ps", "-aq", "--filter", f"label=pylis.io/project={project}")
        if one not in sidecars
    ]
    for container in sidecars:
        _docker("rm", "-f", "-v", container)
    volumes = [
        one for one in _docker("volume", "ls", "-q", "--filter", mine) if one.startswith(f"{project}_pylis-")
    ]
    for volume in volumes:
        _docker("volume", "rm", volume)
    _docker("network", "rm", f"{project}_pylis")
    return [f"removed {len(found)} containers of the mesh, {len(sidecars)} sidecars, {len(volumes)} volumes"]


def _docker(*arguments: str) -> list[str]:
    """Words of the answer; none when there is no engine, or nothing to do."""
    return _docker_says(*arguments).split()


def _docker_says(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["docker", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _found() -> Path:
    for name in _DEFAULTS:
        if Path(name).exists():
            return Path(name)
    raise Failure("no compose file here", hint="name it: pylis compose init -f docker-compose.yml")


def _read(path: Path) -> Json:
    try:
        document: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise Failure(f"{path} is no YAML: {error}") from error
    found = cast("Json", document) if isinstance(document, dict) else {}
    services = found.get("services")
    if not isinstance(services, dict):
        hint = "the form without services: (compose file version 1) is not read" if found else ""
        raise Failure(f"{path} has no services", hint=hint)
    return found


def _project(path: Path, document: Json) -> str:
    """As compose does. Source: compose's --project-name"""
    named = os.environ.get("COMPOSE_PROJECT_NAME") or str(document.get("name") or path.absolute().parent.name)
    return re.sub(r"[^-_a-z0-9]", "", named.lower())


def _compose_command() -> list[str]:
    docker = shutil.which("docker")
    if (
        docker
        and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    ):
        return ["docker", "compose"]
    return ["docker-compose"]


def _image(name: str, service: Json, project: str, base: list[str]) -> Image | None:
    """What the engine knows of a service's image; built or pulled by compose when it is not here yet."""
    for attempt in ("", "build" if "build" in service else "pull"):
        if attempt:
            click.echo(f"{attempt}ing {name}, to know what it starts", err=True)
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # then it is not known
                subprocess.run([*base, attempt, name], capture_output=True, check=False, timeout=_SECONDS)
        for image in _names(name, service, project):
            found = _docker_says("image", "inspect", image)
            if found:
                return _described(json.loads(found)[0]["Config"])
    return None


def _names(name: str, service: Json, project: str) -> list[str]:
    """The image's, or what compose v1 and v2 call one they build."""
    if "image" in service:
        return [str(service["image"])]
    return [f"{project}-{name}", f"{project}_{name}"]


def _described(config: Json) -> Image:
    exposed: dict[str, Any] = config.get("ExposedPorts") or {}
    ports = [one.partition("/") for one in exposed]
    return Image(
        tuple(config.get("Entrypoint") or ()),
        tuple(config.get("Cmd") or ()),
        tuple(int(number) for number, _, protocol in ports if protocol in ("", "tcp")),
    )
