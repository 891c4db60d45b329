"""The runs behind `pylis bench xds`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from ca.service import SERVER_DNS_NAME, XDS_DNS_NAME
from ca.spiffe_id import TrustDomain
from controlplane.cli.client import Client
from controlplane.load.fleet import Fleet, Identity
from controlplane.load.installation import Api, RefusedError
from controlplane.load.measure import Measure, Measurements, edits, mesh_wide
from controlplane.load.mesh import LoadMesh


class BenchError(Exception):
    """The run could not go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command's options."""

    sidecars: int
    replicas: int
    edits: int
    mesh_edits: int
    policies: int
    xds: str
    server_pid: int
    root_namespace: str
    server_name: str


async def whole(client: Client, wanted: Wanted) -> dict[str, Any]:
    """Raises: BenchError."""
    async with Api(client.server, client.token, client.context) as api:
        try:
            return await _whole(api, wanted)
        except (RefusedError, aiohttp.ClientError) as error:
            raise BenchError(f"the API: {error}") from error


async def _whole(api: Api, wanted: Wanted) -> dict[str, Any]:
    bundle = await api.request("GET", "/pylis/v1/addresses")
    domain = TrustDomain.parse(str(bundle["trustDomain"]))
    mesh = LoadMesh(domain.name, max(12, wanted.sidecars // wanted.replicas // 2 * 2), wanted.replicas)
    await api.create(mesh.resources())
    await api.create([mesh.mesh_wide(wanted.root_namespace)])
    await api.create(mesh.unrelated(number) for number in range(wanted.policies))
    identities = await api.identities(list(mesh.nodes()), ttl_seconds=12 * 3600)
    where, name = wanted.xds or str(bundle["xds"]), wanted.server_name or SERVER_DNS_NAME
    if not wanted.xds and "sidecars" in bundle:
        where, name = str(bundle["sidecars"]), wanted.server_name or XDS_DNS_NAME
    fleet = Fleet(where, identities, server_name=name)
    measure, found = Measure(fleet, wanted.server_pid), Measurements()
    found.add("sidecars", len(identities))
    found.add("idle", {"serverResidentMB": round(measure.usage().resident_bytes / 1e6, 1)})
    found.add("coldStart", await measure.cold_start())
    found.rounds("edit", await edits(measure, api, mesh, range(wanted.edits)))
    found.rounds(
        "meshWideEdit", await mesh_wide(measure, api, mesh, wanted.root_namespace, wanted.mesh_edits)
    )
    found.add("afterEdits", {"serverResidentMB": round(measure.usage().resident_bytes / 1e6, 1)})
    found.add("reconnect", await measure.reconnect())
    fleet.disconnect()
    return found.figures


async def connect_only(directory: Path, xds: str, server_name: str, pid: int) -> dict[str, Any]:
    """Cold start and reconnect of sidecars that exist already. Raises: BenchError."""
    try:
        nodes = (directory / "nodes.txt").read_text().split()
        identities = [
            Identity(
                node,
                (directory / str(n) / "key.pem").read_bytes(),
                (directory / str(n) / "svid.pem").read_bytes(),
                (directory / str(n) / "bundle.pem").read_text(),
            )
            for n, node in enumerate(nodes)
        ]
    except OSError as error:
        raise BenchError(f"{directory} holds no identities: {error}") from error
    fleet = Fleet(xds, identities, server_name=server_name or SERVER_DNS_NAME)
    measure, found = Measure(fleet, pid), Measurements()
    found.add("sidecars", len(identities))
    found.add("coldStart", await measure.cold_start())
    found.add("reconnect", await measure.reconnect())
    fleet.disconnect()
    return found.figures
