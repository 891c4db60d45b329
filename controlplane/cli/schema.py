"""`pylis schema`: JSON Schemas for editors, and the attributes that conditions may name."""

from __future__ import annotations

from pathlib import Path

import click

from controlplane.cli.output import Failure, columns, emit, format_option

ATTRIBUTES = "attributes"


@click.command()
@click.argument("name", metavar="[KIND|attributes]", default="")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write every schema there, and pylis.json for any file.",
)
@format_option
def schema(name: str, directory: Path | None, output: str) -> None:
    """Print a JSON Schema: of one KIND, or without one of any file of ours (`kind` decides).

    `attributes` lists what conditions may look at.

    \b
    Example:
      pylis schema AuthorizationPolicy
      pylis schema --dir .schemas          then, in a file:  # yaml-language-server: $schema=.schemas/pylis.json
      pylis schema attributes
    """
    from controlplane.resources import schema as schemas

    if directory is not None:
        _write(directory)
        return
    if name.lower() == ATTRIBUTES:
        _attributes(output)
        return
    known = {known.lower(): known for known in schemas.names()}
    if name and name.lower() not in known:
        raise Failure(f'no kind is called "{name}"', hint=f"known here: {', '.join(known.values())}")
    found = schemas.json_schema(known[name.lower()]) if name else schemas.combined()
    emit(found, "json" if output == "table" else output, list)


def _write(directory: Path) -> None:
    from controlplane.cli.output import to_json
    from controlplane.resources import schema as schemas

    directory.mkdir(parents=True, exist_ok=True)
    found = {"pylis.json": schemas.combined()}
    for name in schemas.names():
        found[f"{name.lower().removesuffix('.yaml')}.json"] = schemas.json_schema(name)
    for file, content in found.items():
        (directory / file).write_text(to_json(content) + "\n")
    click.echo(f"{len(found)} schemas in {directory}")


def _attributes(output: str) -> None:
    from policies.attributes import ROWS, Attribute

    rows = [
        {
            "attribute": str(attribute),
            "transport": str(row.transport),
            "form": str(row.form),
            "needsIdentity": row.needs_identity,
            "ignoresCase": row.folds_case,
        }
        for attribute, row in ROWS.items()
    ]
    shown = [
        (
            f"{row['attribute']}[NAME]" if row["attribute"] == Attribute.HEADER else str(row["attribute"]),
            str(row["transport"]),
            str(row["form"]),
            "mutual TLS" if row["needsIdentity"] else "",
        )
        for row in rows
    ]
    emit({"attributes": rows}, output, lambda: columns(("ATTRIBUTE", "TRANSPORT", "VALUES", "NEEDS"), shown))
