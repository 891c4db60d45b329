"""A container with the label by plain `docker run`: of no compose project, behind a sidecar, gone afterwards with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from demo.containers import ContainerMesh, docker
from tests.docker.waiting import until


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
        until(lambda: bool(docker("ps", "-q", *sidecars).strip()), f"{whole} has a sidecar")
        yield whole
    finally:
        docker("rm", "-f", "-v", whole)
    until(lambda: not docker("ps", "-aq", *sidecars).strip(), f"the sidecar of {whole} is gone")
