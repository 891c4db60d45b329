"""A container with the label by plain `docker run`: of no compose project, behind a sidecar, gone afterwards with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from demo.containers import ContainerMesh, docker

SECONDS = 90.0


@contextmanager
def run(
    mesh: ContainerMesh, name: str, namespace: str, ports: str, *program: str, **labels: str
) -> Iterator[str]:
    """Its name on the network, which is its service account, too; `program` is Python's arguments."""
    image = docker("inspect", "-f", "{{.Config.Image}}", mesh.container("catalog")).strip()
    whole = f"{mesh.project}-{name}"
    given = {"inject": "true", "namespace": namespace, "ports": ports, "service-account": name, **labels}
    made = docker(
        "run", "-d", "--name", whole, "--network", f"{mesh.project}_shop", "--cap-drop", "ALL", "--no-healthcheck",
        *(part for key, value in given.items() for part in ("--label", f"pylis.io/{key}={value}")),
        "--entrypoint", "python3", image, *program,
    ).strip()  # fmt: skip
    sidecars = ["--filter", f"label=pylis.io/sidecar-of={made}"]
    try:
        _until(lambda: bool(docker("ps", "-q", *sidecars).strip()), f"{whole} has a sidecar")
        yield whole
    finally:
        docker("rm", "-f", "-v", whole)
    _until(lambda: not docker("ps", "-aq", *sidecars).strip(), f"the sidecar of {whole} is gone")


def _until(ask: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not ask():
        if time.monotonic() > end:
            pytest.fail(f"not within {SECONDS:.0f} s: {what}")
        time.sleep(0.1)
