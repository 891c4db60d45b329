"""What a control plane is started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controlplane.authority_config import AuthorityConfig
from controlplane.presences import GRACE_SECONDS
from policies.workload import MeshSettings
from xds.plan import AccessLog

MEMORY_STORE: Final = "memory://"


@dataclass(frozen=True, slots=True)
class Config:
    """`api` and `xds` are `host:port` (port 0: any free one); `store` is `memory://`, `sqlite:///PATH` or
    `postgresql://…`; `envelope_key` (base64) or a file holds what seals secrets there.

    `jwt_issuer`: the `iss` of JWT-SVIDs, an https URL without a slash at its end; "": the API's own.
    `agent_grace_seconds`: how long an agent may be away before what it watches takes no requests.
    `node_attestation`: a file that names more ways for agents to join than tokens; `people`: one that names OpenID
    providers for people. `xds_workers`: so many processes hold the sidecars' connections, at `sidecars` (`host:port`).
    """

    data_dir: Path
    store: str
    api: str
    xds: str
    settings: MeshSettings
    access_log: AccessLog = AccessLog.DENIED
    advertise: str = ""
    jwt_issuer: str = ""
    node_attestation: Path | None = None
    container_agents: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    join_socket: Path | None = None
    authority: AuthorityConfig = AuthorityConfig()
    envelope_key: str = field(default="", repr=False)
    envelope_key_file: Path | None = None
    people: Path | None = None
    agent_grace_seconds: float = GRACE_SECONDS
    xds_workers: int = 0
    sidecars: str = ""

    @property
    def is_shared(self) -> bool:
        """Do several servers use this store?"""
        return self.store.startswith(("postgresql://", "postgres://"))
