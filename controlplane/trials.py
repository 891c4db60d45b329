"""Tries a write that is not made, for `?dryRun=All`: on the mesh in force, in a thread, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final

from controlplane.resources.kinds import Kind
from controlplane.state import MeshState
from controlplane.what_if import KINDS, Trial, changed, what_if
from policies.document import Document

WAIT_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.005


class Trials:
    """`newest()`: the store's revision; what was accepted before a trial is in the mesh it is tried on."""

    def __init__(self, state: MeshState, newest: Callable[[], int]) -> None:
        self._state = state
        self._newest = newest
        self._one = asyncio.Semaphore(1)

    async def lines(self, kind: Kind, old: dict[str, Any] | None, new: dict[str, Any] | None) -> list[str]:
        """What the change of an object (stored values; None: it is not there) would mean, for people."""
        if kind.kind not in KINDS:
            return []
        objects = (_parsed(kind, old), _parsed(kind, new))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._one.acquire()
        except TimeoutError:
            return ["what if: others are being tried; ask again"]
        try:
            await self._catch_up()
            mesh = self._state.mesh
            return await asyncio.to_thread(what_if, Trial(mesh, changed(mesh, *objects), objects))
        finally:
            self._one.release()

    async def _catch_up(self) -> None:
        """A burst of edits comes into force in batches: for a while they are waited for."""
        wanted = self._newest()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while self._state.revision < wanted:  # noqa: ASYNC110 - the mesh tells nobody but proxies that it moved
                    await asyncio.sleep(PAUSE_SECONDS)


def _parsed(kind: Kind, value: dict[str, Any] | None) -> object | None:
    if value is None:
        return None
    metadata = {
        f: v for f, v in value["metadata"].items() if f in ("name", "namespace", "labels", "annotations")
    }
    whole = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        "spec": value.get("spec", {}),
    }
    return kind.parse(Document(whole))[0]
