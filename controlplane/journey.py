"""What becomes of one edit: the request, its way into the store, the mesh in which it is in force, every proxy's answer.

State without I/O; times are seconds of one monotonic clock, read where something happens. An edit is over when the
proxies that it concerns have acknowledged or refused it, have gone, or have been silent for a minute; `finished` is
told then, once. Bounded: so many edits at a time, so many proxies of an edit one by one, the rest as numbers.

The revision of a write is known to the request a moment after the mesh may have it. So the mesh's batches are kept
by the revisions they hold, and an edit finds its own when it is answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

MOST_EDITS: Final = 1000  # followed at a time; more are not traced
MOST_PUSHES: Final = 32  # proxies of an edit that are told one by one
MOST_BATCHES: Final = 1000
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """`traceparent` and `tracestate` as the caller sent them (W3C Trace Context), "" for none."""

    method: str
    path: str
    request_id: str
    traceparent: str = ""
    tracestate: str = ""


@dataclass(slots=True)
class Push:
    """To one proxy. `compiled`, `ended`: 0 while it has not come so far; `refused`: the types."""

    node: str
    compiled: float = 0.0
    ended: float = 0.0
    refused: tuple[str, ...] = ()
    gone: bool = False


@dataclass(slots=True)
class Batch:
    """Edits that came into force together: those after one revision, up to another."""

    after: int
    upto: int
    at: float
    affected: int
    connected: int
    pending: set[str]
    pushes: dict[str, Push]
    refused: int = 0
    gone: int = 0
    last: float = 0.0  # when the last proxy answered
    edits: list[Edit] = field(
        default_factory=list["Edit"]
    )  # those that are answered and wait for the proxies


@dataclass(slots=True)
class Edit:
    """One request that changes something. `committing`, `committed`, `answered`: 0 where it did not come so far."""

    request: Request
    began: float
    clock: Callable[[], float]
    committing: float = 0.0
    committed: float = 0.0
    revision: int = 0
    answered: float = 0.0
    status: int = 0

    def begins_to_commit(self) -> None:
        self.committing = self.committing or self.clock()

    def is_committed(self, revision: int) -> None:
        self.committed, self.revision = self.clock(), revision


CURRENT: Final[ContextVar[Edit | None]] = ContextVar("edit", default=None)


@dataclass(slots=True)
class Journeys:
    """`finished(edit, batch, complete)`: without a batch for what changed nothing; incomplete after a minute."""

    clock: Callable[[], float]
    finished: Callable[[Edit, Batch | None, bool], None]
    untraced: int = 0
    _open: dict[int, Edit] = field(default_factory=dict[int, Edit])  # oldest first
    _early: list[Edit] = field(default_factory=list[Edit])  # answered before they are in force
    _batches: deque[Batch] = field(default_factory=deque[Batch])
    _pending: dict[str, list[Batch]] = field(default_factory=dict[str, list[Batch]])
    _upto: int = 0

    def begin(self, request: Request) -> Edit | None:
        """None: so many are followed already."""
        self.give_up()
        if len(self._open) >= MOST_EDITS:
            self.untraced += 1
            return None
        edit = Edit(request, self.clock(), self.clock)
        self._open[id(edit)] = edit
        return edit

    def answered(self, edit: Edit, status: int) -> None:
        if id(edit) not in self._open:
            return  # it took too long
        edit.answered, edit.status = self.clock(), status
        batch = self._batch_of(edit)
        if not edit.revision or (batch is not None and not batch.pending):
            self._close(edit, batch, complete=True)
        elif batch is None:
            self._early.append(edit)
        else:
            batch.edits.append(edit)

    def in_force(self, upto: int, affected: int, connected: Collection[str]) -> None:
        """The mesh holds all up to that revision; `connected`: those of the affected that are told now."""
        after, self._upto = self._upto, max(self._upto, upto)
        if not self._open or upto <= after:
            return
        now = self.clock()
        pushes = {node: Push(node) for node in sorted(connected)[:MOST_PUSHES]}
        batch = Batch(after, upto, now, affected, len(connected), set(connected), pushes, last=now)
        batch.edits = [edit for edit in self._early if edit.revision <= upto]
        self._early = [edit for edit in self._early if edit.revision > upto]
        self._keep(batch)
        self._close_settled(batch)

    def compiled(self, node: str) -> None:
        """What the proxy is to hold has been worked out."""
        for batch in self._pending.get(node, ()):
            push = batch.pushes.get(node)
            if push is not None and not push.compiled:
                push.compiled = self.clock()

    def settled(self, node: str, refused: Mapping[str, tuple[str, ...]]) -> None:
        self._end(node, tuple(sorted(refused)), gone=False)

    def gone(self, node: str) -> None:
        self._end(node, (), gone=True)

    def stop(self) -> None:
        """What is still open is finished as it is."""
        for edit in list(self._open.values()):
            self._close(edit, self._batch_of(edit), complete=False)

    def _end(self, node: str, refused: tuple[str, ...], *, gone: bool) -> None:
        now = self.clock()
        for batch in self._pending.pop(node, ()):
            batch.pending.discard(node)
            batch.last = now
            batch.refused += bool(refused)
            batch.gone += gone
            if (push := batch.pushes.get(node)) is not None:
                push.ended, push.refused, push.gone = now, refused, gone
            self._close_settled(batch)

    def _keep(self, batch: Batch) -> None:
        self._batches.append(batch)
        for node in batch.pending:
            self._pending.setdefault(node, []).append(batch)
        if len(self._batches) > MOST_BATCHES:
            oldest = self._batches.popleft()
            for node in oldest.pending:
                self._pending[node].remove(oldest)

    def _close_settled(self, batch: Batch) -> None:
        if not batch.pending:
            edits, batch.edits = batch.edits, []
            for edit in edits:
                self._close(edit, batch, complete=True)

    def give_up(self) -> None:
        """Closes what has taken too long."""
        late = self.clock() - PATIENCE_SECONDS
        while self._open and (edit := next(iter(self._open.values()))).began < late:
            self._close(edit, self._batch_of(edit), complete=False)

    def _batch_of(self, edit: Edit) -> Batch | None:
        return next((b for b in reversed(self._batches) if b.after < edit.revision <= b.upto), None)

    def _close(self, edit: Edit, batch: Batch | None, *, complete: bool) -> None:
        if self._open.pop(id(edit), None) is None:
            return  # it was given up
        if not self._open:
            self._early.clear()
            self._batches.clear()
            self._pending.clear()
        self.finished(edit, batch, complete)
