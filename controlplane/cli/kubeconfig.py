"""`pylis kubeconfig`: what kubectl needs to talk to this control plane."""

from __future__ import annotations

from pathlib import Path

import click

from controlplane.cli.client import DEFAULT_KUBECONFIG
from controlplane.cli.output import Failure


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=DEFAULT_KUBECONFIG.parent,
    show_default=True,
    envvar="PYLIS_DATA_DIR",
)
def kubeconfig(data_dir: Path) -> None:
    """Print the kubeconfig of the control plane in a data directory. It holds the administrator's token.

    \b
    Example:
      pylis kubeconfig > ~/.kube/pylis && kubectl --kubeconfig ~/.kube/pylis get authorizationpolicies -A
    """
    try:
        click.echo((data_dir / "kubeconfig").read_text(), nl=False)
    except OSError as error:
        hint = "a control plane writes it when it starts: pylis server --data-dir …"
        raise Failure(f"cannot read {error.filename}: {error.strerror}", hint=hint) from error
