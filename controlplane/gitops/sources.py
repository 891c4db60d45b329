"""Keeps objects as git repositories say: fetch, judge everything, apply, prune what the source itself made and dropped.

Level-triggered: each round reads the GitSources, their repositories and what is there. Nothing is pruned, or applied,
of a revision that cannot be read whole; nothing is ever taken over from, or deleted of, somebody else. Each source
writes as a user of its own: what no role allows it is refused and said in its status. Only the leader works.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# stored JSON comes in as Any

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from controlplane.access import Caller
from controlplane.api.authorization import Authorization
from controlplane.api.errors import ApiError
from controlplane.api.target import Options, Target
from controlplane.api.writes import APPLY, Author, Writes
from controlplane.gitops import checkout
from controlplane.gitops.checkout import Checkout, CheckoutError, Repository
from controlplane.resources import git_source
from controlplane.resources.git_source import GitSource
from controlplane.resources.kinds import Kind, by_api_version, by_plural
from controlplane.resources.yaml_text import read_text
from controlplane.store.following import patiently, since
from controlplane.store.port import Key, NotFoundError, Record, Store
from policies.document import Document

RESOURCE: Final = "gitsources.pylis.io"
MADE: Final = "gitsourcesmade.internal"  # what each source made, by its name
LABEL: Final = "pylis.io/git-source"
_NEVER: Final = frozenset({"GitSource", "Secret"})  # a repository is no place for these
_MOST_NAMED: Final = 5
log = structlog.get_logger()


class SyncError(Exception):
    """A round ended early; `reason` for the condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Synced:
    commit: str
    objects: int
    changed: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()


class GitSources:
    def __init__(self, store: Store, writes: Writes, authorization: Authorization) -> None:
        self._store = store
        self._writes = writes
        self._authorization = authorization
        self._due: dict[str, tuple[float, int]] = {}  # source → when, by the generation that was synced
        self._commits: dict[str, str] = {}

    async def run(self) -> None:
        """Until cancelled."""
        seen = -1
        while True:
            if self._store.leading:
                await patiently(self.round)
            events = since(self._store, seen) if seen >= 0 else None
            seen = self._store.revision
            if events is not None and any(e.record.key.resource == RESOURCE and not e.minor for e in events):
                continue
            now = asyncio.get_running_loop().time()
            wait = min((at - now for at, _ in self._due.values()), default=git_source.MAX_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.1, wait)):
                    await self._wait(seen)

    async def _wait(self, seen: int) -> None:
        """For a change of a GitSource."""
        while True:
            await self._store.wait(seen)
            events = since(self._store, seen)
            if events is None or any(e.record.key.resource == RESOURCE and not e.minor for e in events):
                return
            seen = self._store.revision

    async def round(self) -> None:
        """Every source that is due."""
        now, known = asyncio.get_running_loop().time(), set[str]()
        for record in (await self._store.list(RESOURCE))[0]:
            source, generation = _parsed(record), record.value["metadata"].get("generation", 0)
            if source is None:
                continue
            known.add(source.user)
            due, synced = self._due.get(source.user, (0.0, -1))
            if source.suspend or (now < due and synced == generation):
                continue
            self._due[source.user] = (now + source.interval_seconds, generation)
            await self.sync(source)
        for user in self._due.keys() - known:
            del self._due[user]

    async def sync(self, source: GitSource) -> None:
        """Once, and says in the source's status how it went."""
        try:
            done = await self._synced(source)
        except (SyncError, CheckoutError) as error:
            reason = error.reason if isinstance(error, SyncError) else "FetchFailed"
            log.warning("gitsource.failed", source=source.user, reason=reason, error=str(error))
            await self._say(source, "False", reason, str(error))
            return
        again = self._commits.get(source.user) == done.commit
        self._commits[source.user] = done.commit
        message = f"{done.objects} objects as commit {done.commit[:12]} says"
        if done.changed and again:
            message += f"; put back what others had changed: {_listed(done.changed)}"
        if done.pruned:
            message += f"; removed: {_listed(done.pruned)}"
        if done.changed or done.pruned:
            log.info("gitsource.synced", source=source.user, commit=done.commit, changed=len(done.changed), pruned=len(done.pruned), drift=again)  # fmt: skip
        await self._say(source, "True", "Drifted" if done.changed and again else "Synced", message, done)

    async def _synced(self, source: GitSource) -> Synced:
        found = await checkout.read(await self._repository(source))
        wanted = _documents(source, found)
        author = Author(
            Caller(source.user, ("pylis:gitsources",)), Options(False, "pylis-gitsource", "Strict", True)
        )
        targets = [_target(source, document) for document in wanted]
        if len({t.key for t in targets}) != len(targets):
            twice = next(str(t.key) for t in targets if sum(o.key == t.key for o in targets) > 1)
            raise SyncError("Invalid", f"{twice} is defined twice; nothing was applied")
        before = await self._made(source)
        await self._not_somebody_elses(source, targets, before)
        for dry_run in (True, False):
            if not dry_run:
                # before any is made: what a crash interrupts is known to be the source's own
                await self._remember(source, before | {t.key for t in targets})
            changed = await self._apply(
                source, author, list(zip(targets, wanted, strict=True)), dry_run=dry_run
            )
        keep = {t.key for t in targets}
        pruned = await self._prune(source, author, before - keep) if source.prune else ()
        await self._remember(source, keep if source.prune else keep | before)
        return Synced(found.commit, len(targets), tuple(changed), tuple(pruned))

    async def _repository(self, source: GitSource) -> Repository:
        authorization = ""
        if source.secret:
            record = await self._store.get(Key("secrets", source.namespace, source.secret))
            if record is None:
                text = f"there is no Secret {source.secret} in {source.namespace}"
                raise SyncError("SecretNotFound", text)
            try:
                data = {k: base64.b64decode(v).decode() for k, v in record.value.get("data", {}).items()}
                authorization = checkout.basic(data["username"], data["password"])
            except (ValueError, KeyError):
                raise SyncError(
                    "SecretNotFound", f"the Secret {source.secret} holds no username and password"
                ) from None
        ref = source.ref if source.ref != git_source.DEFAULT_REF else "HEAD"
        return Repository(source.url, ref, source.path, source.ca_pem, authorization)

    async def _not_somebody_elses(self, source: GitSource, targets: Sequence[Target], made: set[Key]) -> None:
        """Raises: SyncError. What is there already and was not made by the source stays its maker's."""
        taken: list[str] = []
        for target in targets:
            record = await self._store.get(target.key)
            if record is not None and target.kind.kind != "Namespace" and not _is_of(source, record, made):
                taken.append(str(target.key))
        if taken:
            text = f"{_listed(taken)} exists and was made by somebody else; nothing was applied"
            raise SyncError("Conflict", f"{text}: delete it, or label it {LABEL}={_label(source)}")

    async def _apply(
        self, source: GitSource, author: Author, wanted: Iterable[tuple[Target, Document]], *, dry_run: bool
    ) -> list[str]:
        """What was different. Raises: SyncError, with everything that was refused."""
        author = Author(author.caller, Options(dry_run, author.options.manager, "Strict", True))
        changed, refused = list[str](), list[str]()
        for target, document in wanted:
            body = _body(source, target, document)
            try:
                await self._authorization.require(author.caller, target.attributes("patch"))
                before = await self._store.get(target.key)
                after = (await self._writes.patch(target, APPLY, body, author)).record
            except ApiError as error:
                missing = "namespaces" in str(error.details.get("kind")) and error.code == 404
                if not (dry_run and missing):  # it may be the repository's own, and made first
                    refused.append(f"{document.origin()}: {error}")
                continue
            if before is None or before.revision != after.revision:
                changed.append(str(target.key))
        if refused:
            reason = "Forbidden" if any("forbidden" in one for one in refused) else "Invalid"
            raise SyncError(reason, f"{'; '.join(refused[:_MOST_NAMED])}{_more(refused)}")
        return changed

    async def _prune(self, source: GitSource, author: Author, keys: Iterable[Key]) -> list[str]:
        pruned: list[str] = []
        for key in sorted(keys):
            plural, _, group = key.resource.partition(".")
            kind, record = by_plural(group, plural), await self._store.get(key)
            if (
                kind is None
                or record is None
                or kind.kind == "Namespace"
                or not _is_of(source, record, {key})
            ):
                continue
            target = Target(kind, key.namespace, key.name)
            try:
                await self._authorization.require(author.caller, target.attributes("delete"))
                await self._writes.delete(target, author)
            except ApiError as error:
                raise SyncError(
                    "PruneFailed", f"{key} is no longer in the repository and cannot be removed: {error}"
                ) from error
            pruned.append(str(key))
        return pruned

    async def _made(self, source: GitSource) -> set[Key]:
        record = await self._store.get(Key(MADE, source.namespace, source.name))
        return {Key(*one) for one in record.value["keys"]} if record else set()

    async def _remember(self, source: GitSource, keys: set[Key]) -> None:
        key = Key(MADE, source.namespace, source.name)
        value = {"keys": [[k.resource, k.namespace, k.name] for k in sorted(keys)]}
        try:
            await self._store.replace(key, value)
        except NotFoundError:
            await self._store.create(key, value)

    async def _say(
        self, source: GitSource, status: str, reason: str, message: str, done: Synced | None = None
    ) -> None:
        """Written only where it says something new."""
        kind = by_plural("pylis.io", "gitsources")
        record = await self._store.get(Key(RESOURCE, source.namespace, source.name))
        if kind is None or record is None:
            return
        old = record.value.get("status") or {}
        conditions = [c for c in old.get("conditions", []) if c.get("type") != "Synced"]
        was = next((c for c in old.get("conditions", []) if c.get("type") == "Synced"), {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        since_ = was.get("lastTransitionTime", now) if was.get("status") == status else now
        condition = {
            "type": "Synced", "status": status, "reason": reason, "message": message, "lastTransitionTime": since_,
            "observedGeneration": record.value["metadata"].get("generation", 0),
        }  # fmt: skip
        new: dict[str, Any] = {**old, "conditions": [*conditions, condition]}
        if done is not None:
            new |= {"commit": done.commit, "objects": done.objects}
        if new == old:
            return
        target = Target(kind, source.namespace, source.name, "status")
        patch = {"metadata": {"resourceVersion": str(record.revision)}, "status": new}
        author = Author(Caller("system:gitsources"), Options(False, "pylis", "Ignore", True), trusted=True)
        for _ in range(3):
            try:
                await self._writes.patch(target, "application/merge-patch+json", patch, author)
            except ApiError as error:
                if error.code != 409:
                    return
                del patch["metadata"]
            else:
                return


def _parsed(record: Record) -> GitSource | None:
    metadata = {
        f: v
        for f, v in record.value["metadata"].items()
        if f in ("name", "namespace", "labels", "annotations")
    }
    whole = {"apiVersion": "pylis.io/v1alpha1", "kind": "GitSource", "metadata": metadata}
    return git_source.parse(Document({**whole, "spec": record.value.get("spec", {})}))[0]


def _documents(source: GitSource, found: Checkout) -> list[Document]:
    """Namespaces first. Raises: SyncError for anything that cannot be read, or when there is nothing."""
    documents, problems = list[Document](), list[str]()
    for name, data in sorted(found.files.items()):
        try:
            read, wrong = read_text(data.decode(), name)
        except UnicodeDecodeError:
            problems.append(f"{name} is no UTF-8")
            continue
        documents += read
        problems += [str(problem) for problem in wrong if problem.is_error]
    for document in documents:
        kind = by_api_version(document.api_version, document.kind)
        if kind is None or kind.kind in _NEVER or kind.read_only:
            what = f"{document.api_version} {document.kind}".strip() or "a document without kind"
            problems.append(f"{document.origin()}: {what} is not applied from git")
        elif not document.name:
            problems.append(f"{document.origin()}: metadata.name is required")
    if problems:
        raise SyncError(
            "Invalid", f"{'; '.join(problems[:_MOST_NAMED])}{_more(problems)}; nothing was applied"
        )
    if not documents:
        raise SyncError(
            "Empty", f"commit {found.commit[:12]} has no resources in {source.path}; nothing was removed"
        )
    return sorted(documents, key=lambda d: d.kind != "Namespace")


def _target(source: GitSource, document: Document) -> Target:
    kind = _kind(document)
    metadata = document.value.get("metadata")
    named = metadata.get("namespace") if isinstance(metadata, dict) else None
    namespace = str(named or source.namespace) if kind.namespaced else ""
    return Target(kind, namespace, document.name)


def _kind(document: Document) -> Kind:
    kind = by_api_version(document.api_version, document.kind)
    if kind is None:
        raise SyncError("Invalid", f"{document.kind} is not served")
    return kind


def _body(source: GitSource, target: Target, document: Document) -> dict[str, Any]:
    value: dict[str, Any] = {k: v for k, v in document.value.items() if k != "status"}
    metadata: dict[str, Any] = {**value.get("metadata", {})}
    metadata["labels"] = {**(metadata.get("labels") or {}), LABEL: _label(source)}
    if target.kind.namespaced:
        metadata["namespace"] = target.namespace
    return {**value, "apiVersion": target.kind.api_version, "kind": target.kind.kind, "metadata": metadata}


def _label(source: GitSource) -> str:
    return f"{source.namespace}.{source.name}"[:63].rstrip("-_.")


def _is_of(source: GitSource, record: Record, made: set[Key]) -> bool:
    """It made it, and its label is still there; or somebody handed it over by the label."""
    label = (record.value["metadata"].get("labels") or {}).get(LABEL)
    return label == _label(source) or (record.key in made and label is None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + _more(names)


def _more(found: Sequence[str]) -> str:
    return f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
