"""What a running server looks like inside (an edge): for administrators who look for what is slow, stuck or large.

Every page is JSON, bounded in size and in what it costs, and without a secret: of tasks and threads the places in the
code are told, never a variable; of a proxy's configuration what Envoy's own messages mark as sensitive is left out.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, Final, cast

from controlplane.api.errors import ApiError, bad_request
from controlplane.proxy_config import resources_json
from xds.desk import MeshDesk
from xds.ledger import Ledger, State
from xds.snapshot import Snapshot

MOST: Final = 200  # of what is listed
SAMPLE_SECONDS: Final = 0.01
PROFILE_SECONDS: Final = 30.0
# Source: fields with udpa.annotations.sensitive in envoy.extensions.transport_sockets.tls.v3 and envoy.config.core.v3
_SENSITIVE: Final = frozenset(
    {"private_key", "password", "pkcs12", "private_key_provider", "generic_secret", "session_ticket_keys"}
)
Page = Callable[[Mapping[str, str]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Debugging:
    """`revisions()`: the store's and the mesh's; `snapshot` as `MeshState.snapshot`."""

    ledger: Ledger
    desk: MeshDesk
    snapshot: Callable[[str], tuple[int, Snapshot]]
    revisions: Callable[[], tuple[int, int]]
    _profiling: asyncio.Lock = field(default_factory=asyncio.Lock)

    def pages(self) -> dict[str, tuple[str, Page]]:
        """Path → what it shows, and the page; `{node}` is a parameter."""
        return {
            "/debug/proxies": ("what each proxy holds, by state, and who is behind", self.proxies),
            "/debug/snapshot/{node:.+}": ("NAMESPACE/NAME: what that proxy is told", self.told),
            "/debug/queue": ("what is still to be done: edits, pushes, newcomers", self.queue),
            "/debug/tasks": ("tasks of the event loop, by where they stand", self.tasks),
            "/debug/threads": ("threads, by where they stand", self.threads),
            "/debug/memory": ("the garbage collector, and what there is most of", self.memory),
            "/debug/profile": ("?seconds=5 (at most 30): where the event loop spends its time", self.profile),
        }

    async def proxies(self, _: Mapping[str, str]) -> Any:
        found = self.ledger.status()
        behind = self.ledger.behind(self.ledger.revision)
        return {
            "revision": self.ledger.revision,
            "states": {str(state): sum(s.state is state for s in found) for state in State},
            "behind": [{"name": name, "refuses": refuses} for name, refuses in behind[:MOST]],
            "largest": [
                {"name": s.node_id, "bytes": s.config_bytes}
                for s in sorted(found, key=lambda s: -s.config_bytes)[:20]
            ],
        }

    async def told(self, asked: Mapping[str, str]) -> Any:
        node = asked["node"]
        revision, snapshot = self.snapshot(node)
        if not snapshot.by_type:
            raise ApiError(404, "NotFound", f"{node} is no workload that is told anything")
        return {"name": node, "revision": revision, "resources": redacted(resources_json(snapshot))}

    async def queue(self, _: Mapping[str, str]) -> Any:
        stored, in_force = self.revisions()
        return {
            "storeRevision": stored,
            "meshRevision": in_force,
            "behind": len(self.ledger.behind(self.ledger.revision)),
            "newcomers": self.desk.meter.newcomers(),
            "compiling": self.desk.compiling,
            "streams": self.desk.meter.streams,
        }

    async def tasks(self, _: Mapping[str, str]) -> Any:
        found = where_tasks_stand()
        return {"tasks": sum(one["count"] for one in found), "at": found[:MOST]}

    async def threads(self, _: Mapping[str, str]) -> Any:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        return {
            "threads": [{"name": names.get(i, str(i)), "at": _stack(f)[-8:]} for i, f in _frames().items()]
        }

    async def memory(self, _: Mapping[str, str]) -> Any:
        return await asyncio.to_thread(_memory)

    async def profile(self, asked: Mapping[str, str]) -> Any:
        try:
            seconds = float(asked.get("seconds", "5"))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= PROFILE_SECONDS:
            raise bad_request(f"seconds must be more than 0 and at most {PROFILE_SECONDS:.0f}")
        if self._profiling.locked():
            raise ApiError(409, "Conflict", "a profile is being taken: wait for it")
        async with self._profiling:
            found = await asyncio.to_thread(_sample, threading.get_ident(), seconds)
        return {"seconds": seconds, "samples": found.total(), "stacks": _listed(found)}


def where_tasks_stand() -> list[dict[str, Any]]:
    """Tasks of the running loop by the place in the code they wait at: count and where, most first."""
    return _listed(Counter(map(_where_task, asyncio.all_tasks())), None)


def redacted(value: Any) -> Any:
    """JSON without what Envoy's messages mark as sensitive."""
    match value:
        case dict():
            fields = cast("dict[str, Any]", value)
            return {k: "[redacted]" if k in _SENSITIVE else redacted(v) for k, v in fields.items()}
        case list():
            return [redacted(one) for one in cast("list[Any]", value)]
        case _:
            return value


def _sample(thread: int, seconds: float) -> Counter[str]:
    """Stacks of a thread, a hundred a second, in a thread of its own: what is looked at goes on at its own speed."""
    found: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        frame = _frames().get(thread)
        if frame is not None:
            found[";".join(_stack(frame))] += 1
        del frame
        time.sleep(SAMPLE_SECONDS)
    return found


def _frames() -> dict[int, FrameType]:
    return sys._current_frames()  # pyright: ignore[reportPrivateUsage] - documented, in spite of its name


def _stack(frame: FrameType | None) -> list[str]:
    """Outermost first."""
    found: list[str] = []
    while frame is not None and len(found) < 64:
        found.append(_place(frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found[::-1]


def _where_task(task: asyncio.Task[Any]) -> str:
    frames = task.get_stack(limit=1)
    coroutine: Any = task.get_coro()
    name = str(getattr(coroutine, "__qualname__", type(coroutine).__name__))
    return f"{name} at {_place(frames[0].f_code, frames[0].f_lineno)}" if frames else name


def _place(code: CodeType, line: int) -> str:
    file = "/".join(code.co_filename.split("/")[-2:])
    return f"{code.co_qualname} ({file}:{line})"


def _listed(found: Counter[str], most: int | None = MOST) -> list[dict[str, Any]]:
    return [{"count": count, "where": where} for where, count in found.most_common(most)]


def _memory() -> dict[str, Any]:
    kinds = Counter(type(one).__qualname__ for one in gc.get_objects())
    return {
        "collected": gc.get_stats(),
        "thresholds": gc.get_threshold(),
        "objects": kinds.total(),
        "most": [{"type": name, "count": count} for name, count in kinds.most_common(30)],
    }
