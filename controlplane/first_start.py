"""What a control plane finds or makes before it serves: namespaces, roles, the administrator's token, a kubeconfig.

Level-triggered like everything else: it runs at every start and puts right what is missing or was changed.
"""

from __future__ import annotations

import base64
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ca.keystore import write_private
from controlplane.api.tokens import Tokens
from controlplane.audit import Entry
from controlplane.builtin_roles import ADMINS, bootstrap_objects
from controlplane.resources.kinds import by_plural
from controlplane.store.port import AlreadyExistsError, ConflictError, Key, Store

SYSTEM = "system:start"


async def put_objects(store: Store, root_namespace: str) -> None:
    """The namespaces every mesh has, and the built-in roles as this version has them."""
    for name in ("default", root_namespace):
        metadata = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
        value = {"metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
        await _put(store, Key("namespaces", "", name), value, correct=False)
    for resource, value in bootstrap_objects():
        await _put(store, Key(resource, "", value["metadata"]["name"]), value, correct=True)


async def _put(store: Store, key: Key, value: dict[str, Any], *, correct: bool) -> None:
    old = await store.get(key)
    plural, _, group = key.resource.partition(".")
    kind = by_plural(group, plural)
    fields = kind.body if kind else ()
    if old is None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        metadata = {
            "name": key.name, "uid": str(uuid.uuid4()), "creationTimestamp": now, "generation": 1, **value["metadata"],
        }  # fmt: skip
        try:
            entry = Entry("create", SYSTEM, resource=key.resource, name=key.name)
            await store.create(key, {**value, "metadata": metadata}, audit=entry)
        except AlreadyExistsError:  # another server was faster
            return
        return
    before = old.value
    if not correct or all(before.get(f) == value.get(f) for f in fields):
        return
    metadata = {**before["metadata"], "generation": before["metadata"].get("generation", 0) + 1}
    try:
        entry = Entry(
            "update",
            SYSTEM,
            resource=key.resource,
            name=key.name,
            reason="built-in roles are kept as they are",
        )
        await store.replace(key, {**before, **value, "metadata": metadata}, old.revision, audit=entry)
    except ConflictError:
        return


async def admin_token(tokens: Tokens, data_dir: Path) -> str:
    """The administrator's token; a new one when the file is gone or the store does not know it."""
    path = data_dir / "admin.token"
    if path.exists():
        token = path.read_text().strip()
        known = await tokens.by_token(token)
        if known is not None and ADMINS in known.groups:
            return token
    entry = Entry("create", SYSTEM, resource="apitokens", name="admin")
    token, _ = await tokens.create("admin", [ADMINS], None, entry)
    write_private(path, f"{token}\n".encode())
    return token


def write_kubeconfig(data_dir: Path, api: str, ca_pem: str, token: str, name: str) -> None:
    cluster = {
        "server": f"https://{api}",
        "certificate-authority-data": base64.b64encode(ca_pem.encode()).decode(),
        "tls-server-name": "server.pylis.internal",
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "admin"}}],
        "current-context": name,
    }
    write_private(data_dir / "kubeconfig", json.dumps(config, indent=2).encode() + b"\n")
