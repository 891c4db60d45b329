"""Every way an object may change: create, replace, patch, apply, delete; with admission, ownership, audit, dry run.

Used by the HTTP handlers, by rollback and by GitSource alike: who writes is in the `Author`, not in a request.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from controlplane.access import Caller
from controlplane.api import managed_fields, objects
from controlplane.api.authorization import Authorization
from controlplane.api.errors import ApiError, bad_request, conflict, forbidden, from_store, not_found
from controlplane.api.managed_fields import Manager
from controlplane.api.objects import MAX_OBJECT, Object, Stamp
from controlplane.api.patches import json_patch, merge_patch
from controlplane.api.target import Options, Target
from controlplane.audit import Entry
from controlplane.difference import differences
from controlplane.journey import CURRENT
from controlplane.resources.kinds import Kind
from controlplane.store.port import ConflictError, Key, Record, Store, StoreError, encode
from policies.problem import Problem

APPLY: Final = "application/apply-patch+yaml"
STRATEGIC: Final = "application/strategic-merge-patch+json"
PATCHES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "application/merge-patch+json": merge_patch,
    "application/json-patch+json": json_patch,
}
FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
_PINS: Final = {
    "Foreground": FOREGROUND,
    "Orphan": ORPHAN,
}  # finalizers by which the collector learns the policy
_ATTEMPTS: Final = 10  # a patch without a version is applied anew to what another writer left
_SUFFIX: Final = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes and how; `trusted`: the server itself, asked for no permission."""

    caller: Caller
    options: Options
    trusted: bool = False

    @property
    def manager(self) -> str:
        return self.options.manager or self.caller.user_agent.partition("/")[0][:128] or "unknown"


@dataclass(frozen=True, slots=True)
class Written:
    record: Record
    created: bool = False
    warnings: Sequence[Problem] = ()


@dataclass(frozen=True, slots=True)
class Deletion:
    """A DELETE's options."""

    policy: str = "Background"
    uid: str = ""
    resource_version: int | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any], query: Mapping[str, str]) -> Deletion:
        """Raises: ApiError."""
        policy = body.get("propagationPolicy") or query.get("propagationPolicy") or "Background"
        if policy not in ("Background", "Foreground", "Orphan"):
            raise bad_request(f"propagationPolicy: {policy!r} is none of Background, Foreground, Orphan")
        conditions = body.get("preconditions") or {}
        if not isinstance(conditions, dict) or not all(isinstance(v, str) for v in conditions.values()):
            raise bad_request("preconditions must hold strings")
        version = objects.expected_revision({"metadata": conditions})
        return cls(policy, conditions.get("uid", ""), version)


@dataclass(frozen=True, slots=True)
class Quotas:
    """Objects of one kind in one namespace; bytes of one object."""

    objects: int = 20_000
    bytes: int = MAX_OBJECT


class Writes:
    def __init__(self, store: Store, authorization: Authorization, quotas: Quotas = Quotas()) -> None:
        self._store = store
        self._authorization = authorization
        self._quotas = quotas

    async def create(self, target: Target, body: Object, author: Author) -> Written:
        """Raises: ApiError."""
        kind = target.kind
        body = objects.addressed(kind, body, replace(target.place, name=""))
        metadata = body["metadata"]
        if not metadata.get("name") and isinstance(prefix := metadata.get("generateName"), str) and prefix:
            metadata["name"] = prefix[:248] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
        body, warnings = objects.checked(kind, body, author.options.validation)
        value = objects.stored(kind, body, None, _stamp())
        entries = managed_fields.entries_of(value)
        _own_fields(value, managed_fields.after_update(None, value, entries, _manager(author, kind), _now()))
        return await self._add(replace(target, name=metadata["name"]), value, author, warnings)

    async def replace(self, target: Target, body: Object, author: Author) -> Written:
        """Raises: ApiError."""

        async def once() -> Written:
            return await self._change(target, await self._expect(target), body, author, "update")

        return await self._retried(once)

    async def patch(self, target: Target, content_type: str, patch: Any, author: Author) -> Written:
        """Raises: ApiError."""
        if content_type == APPLY:
            return await self._retried(lambda: self._apply(target, patch, author))
        function = PATCHES.get(content_type)
        if content_type == STRATEGIC and target.kind.strategic:
            function = merge_patch
        if function is None:
            known = ", ".join([*PATCHES, APPLY])
            text = f"{content_type} is not supported for {target.kind.kind}: use one of {known}"
            raise ApiError(415, "UnsupportedMediaType", text)
        if function is merge_patch and not isinstance(patch, dict):
            raise bad_request("a merge patch is an object")

        async def once() -> Written:
            old = await self._expect(target)
            shown = objects.shown(target.kind, old)
            body = function(shown, patch)
            if not isinstance(body, dict):
                raise bad_request("the result of the patch is no object")
            return await self._change(target, old, body, author, "patch")

        return await self._retried(once)

    async def delete(self, target: Target, author: Author, deletion: Deletion = Deletion()) -> Written:
        """The record that is gone, or that waits for its finalizers (`created` False, deletionTimestamp set)."""
        return await self._retried(lambda: self._delete(target, author, deletion))

    async def _delete(self, target: Target, author: Author, deletion: Deletion) -> Written:
        old = await self._expect(target)
        value = old.value
        if deletion.uid not in ("", value["metadata"]["uid"]):
            raise conflict(target.kind, target.name, f"the UID in the precondition is {deletion.uid}, the object's is {value['metadata']['uid']}")  # fmt: skip
        _same_version(target, old, deletion.resource_version)
        await self._may(author, target, "delete", [value])
        finalizers = [*value["metadata"].get("finalizers", [])]
        pin = _PINS.get(deletion.policy)
        if pin and pin not in finalizers:
            finalizers.append(pin)
        if not finalizers and target.kind.kind != "Namespace":
            if not author.options.dry_run:
                entry = self._entry(author, "delete", target, value, None)
                await _followed(self._store.delete(target.key, old.revision, audit=entry))
            return Written(old)
        if "deletionTimestamp" in value["metadata"]:
            return Written(old)
        metadata = {**value["metadata"], "deletionTimestamp": _now(), "deletionGracePeriodSeconds": 0}
        if finalizers:
            metadata["finalizers"] = finalizers
        new = {**value, "metadata": metadata}
        if target.kind.kind == "Namespace":
            new["status"] = {"phase": "Terminating"}
        entry = self._entry(author, "delete", target, value, new)
        return await self._put(target, old, new, author, entry)

    async def _apply(self, target: Target, body: Any, author: Author) -> Written:
        """Server-side apply."""
        kind, options = target.kind, author.options
        if not isinstance(body, dict):
            raise bad_request("an applied body is an object")
        if not options.manager:
            raise bad_request("fieldManager is required for an apply patch")
        if isinstance(given := body.get("metadata"), dict) and given.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil in an apply patch")
        expected = objects.expected_revision(body)
        old = await self._store.get(target.key)
        body = objects.addressed(kind, body, target.place)
        status, warnings = body.get("status"), list[Problem]()
        if target.subresource == "status":
            body = {"metadata": {}, "status": status}
        else:
            body, warnings = objects.checked(kind, body, options.validation)
        manager = Manager(options.manager, "Apply", kind.api_version, target.subresource)
        if old is None:
            if target.subresource or expected is not None:
                raise not_found(kind, target.name)
            if not author.trusted:
                await self._authorization.require(author.caller, target.attributes("create"))
            value = objects.stored(kind, body, None, _stamp())
            _own_fields(value, managed_fields.apply({}, body, [], manager, _now())[1])
            return await self._add(target, value, author, warnings)
        _same_version(target, old, expected)
        live = old.value
        entries = managed_fields.entries_of(live)
        found = managed_fields.conflicts(live, body, entries, manager)
        if found and not options.force:
            raise _apply_conflict(kind, target.name, found)
        merged, owners = managed_fields.apply(live, body, entries, manager, _now())
        if target.subresource == "status":
            new = objects.with_status(live, merged)
            _own_fields(new, owners)
        else:
            merged = objects.addressed(kind, {**merged, "apiVersion": kind.api_version}, target.place)
            checked, more = objects.checked(kind, merged, options.validation)
            warnings += [w for w in more if w not in warnings]
            new = objects.stored(kind, checked, live, _stamp())
            _own_fields(new, owners)
        await self._may(author, target, "patch", [live, new])
        entry = self._entry(author, "apply", target, live, new)
        return await self._put(target, old, new, author, entry, warnings)

    async def _change(self, target: Target, old: Record, body: Object, author: Author, verb: str) -> Written:
        kind = target.kind
        _same_version(target, old, objects.expected_revision(body))
        live = old.value
        warnings: list[Problem] = []
        given = (
            body.get("metadata", {}).get("managedFields") if isinstance(body.get("metadata"), dict) else None
        )
        uid = body["metadata"].get("uid") if isinstance(body.get("metadata"), dict) else None
        if uid not in (None, "", live["metadata"]["uid"]):
            raise conflict(kind, target.name, "metadata.uid is of another object of this name")
        if target.subresource == "status":
            new = objects.with_status(live, body)
        else:
            body = objects.addressed(kind, body, target.place)
            body, warnings = objects.checked(kind, body, author.options.validation)
            new = objects.stored(kind, body, live, _stamp())
        entries = managed_fields.entries_of(
            {"metadata": {"managedFields": given}} if given is not None else live
        )
        manager = Manager(author.manager, "Update", kind.api_version, target.subresource)
        _own_fields(new, managed_fields.after_update(live, new, entries, manager, _now()))
        await self._may(author, target, verb, [live, new])
        if "deletionTimestamp" in live["metadata"]:
            added = set(new["metadata"].get("finalizers", [])) - set(live["metadata"].get("finalizers", []))
            if added:
                raise ApiError(422, "Invalid", f"metadata.finalizers: {', '.join(sorted(added))} cannot be added to an object that is being deleted")  # fmt: skip
            if not new["metadata"].get("finalizers") and kind.kind != "Namespace":
                if not author.options.dry_run:
                    entry = self._entry(author, "delete", target, live, None)
                    await self._delete_record(target, old, entry)
                return Written(old, warnings=warnings)
        entry = self._entry(author, verb, target, live, new)
        return await self._put(target, old, new, author, entry, warnings)

    async def _add(
        self, target: Target, value: Object, author: Author, warnings: Sequence[Problem]
    ) -> Written:
        kind, key = target.kind, target.key
        await self._may(author, target, "create", [value])
        self._fits(kind, key, value)
        await self._namespace_takes(target)
        if await self._store.count(kind.resource, key.namespace or None) >= self._quotas.objects:
            text = (
                f"exceeded quota: {key.namespace or 'the mesh'} may hold {self._quotas.objects} {kind.plural}"
            )
            raise ApiError(
                403, "Forbidden", text, {"name": key.name, "group": kind.group, "kind": kind.plural}
            )
        if author.options.dry_run:
            if await self._store.get(key) is not None:
                raise _exists(kind, key.name)
            return Written(Record.of(key, value, 0, self._store.revision), True, warnings)
        entry = self._entry(author, "create", target, None, value)
        try:
            record = await _followed(self._store.create(key, value, audit=entry))
        except StoreError as error:
            raise from_store(error, kind, key.name) from error
        return Written(record, True, warnings)

    async def _put(
        self,
        target: Target,
        old: Record,
        new: Object,
        author: Author,
        entry: Entry,
        warnings: Sequence[Problem] = (),
    ) -> Written:
        """Nothing is written when nothing but times would change."""
        if _same(old.value, new):
            return Written(old, warnings=warnings)
        self._fits(target.kind, target.key, new)
        if author.options.dry_run:
            return Written(Record.of(old.key, new, old.created, old.revision), warnings=warnings)
        minor = target.subresource == "status"
        audit = None if minor and author.trusted else entry
        try:
            record = await _followed(
                self._store.replace(target.key, new, old.revision, audit=audit, minor=minor)
            )
        except ConflictError:
            raise
        except StoreError as error:
            raise from_store(error, target.kind, target.name) from error
        return Written(record, warnings=warnings)

    async def _delete_record(self, target: Target, old: Record, entry: Entry) -> None:
        await _followed(self._store.delete(target.key, old.revision, audit=entry))

    async def _retried(self, once: Callable[[], Any]) -> Written:
        """A write that names no version is tried again on what another writer left."""
        for _ in range(_ATTEMPTS - 1):
            try:
                return await once()
            except ConflictError:
                continue
        return await once()

    async def _expect(self, target: Target) -> Record:
        record = await self._store.get(target.key)
        if record is None:
            raise not_found(target.kind, target.name)
        return record

    async def _may(self, author: Author, target: Target, verb: str, versions: Sequence[Object]) -> None:
        if not author.trusted and target.subresource != "status":
            wanted = target.attributes(verb)
            await self._authorization.require_write(author.caller, target.kind, wanted, versions)

    def _fits(self, kind: Kind, key: Key, value: Object) -> None:
        size = len(encode(value))
        if size > self._quotas.bytes:
            text = f'{kind.resource} "{key.name}" is {size} bytes; an object has at most {self._quotas.bytes}'
            raise ApiError(413, "RequestEntityTooLarge", text)

    async def _namespace_takes(self, target: Target) -> None:
        """Raises: ApiError for a namespace that is missing or going."""
        if not target.kind.namespaced:
            return
        record = await self._store.get(Key("namespaces", "", target.namespace))
        if record is None:
            details = {"name": target.namespace, "kind": "namespaces"}
            raise ApiError(404, "NotFound", f'namespaces "{target.namespace}" not found', details)
        if "deletionTimestamp" in record.value["metadata"]:
            text = (
                f"unable to create new content in namespace {target.namespace} because it is being terminated"
            )
            error = forbidden(target.attributes("create"), text)
            error.details["causes"] = [
                {"reason": "NamespaceTerminating", "field": "metadata.namespace", "message": f"namespace {target.namespace} is being terminated"}
            ]  # fmt: skip
            raise error

    def _entry(
        self, author: Author, verb: str, target: Target, old: Object | None, new: Object | None
    ) -> Entry:
        """What the audit log keeps of a change: a diff without what the server itself wrote."""
        caller = author.caller
        detail: dict[str, Any] = {"diff": differences(old, new, secret=target.kind.kind == "Secret")}
        if target.subresource:
            detail["subresource"] = target.subresource
        return Entry(
            verb, caller.name, resource=target.kind.resource, namespace=target.key.namespace, name=target.name,
            source=caller.source, request_id=caller.request_id, detail=detail,
        )  # fmt: skip


def _manager(author: Author, kind: Kind) -> Manager:
    return Manager(author.manager, "Update", kind.api_version)


def _own_fields(value: Object, entries: Sequence[managed_fields.Entry]) -> None:
    """Managed fields stand last in the metadata: what people read comes first."""
    value["metadata"] = {f: v for f, v in value["metadata"].items() if f != "managedFields"}
    if entries:
        value["metadata"]["managedFields"] = managed_fields.written(entries)


def _same(old: Object, new: Object) -> bool:
    """Equal but for the times of managed fields."""
    return _timeless(old) == _timeless(new)


def _timeless(value: Object) -> Object:
    entries = [{**e, "time": ""} for e in value["metadata"].get("managedFields", [])]
    return {**value, "metadata": {**value["metadata"], "managedFields": entries}}


def _same_version(target: Target, old: Record, expected: int | None) -> None:
    if expected is not None and expected != old.revision:
        text = "the object has been modified; please apply your changes to the latest version and try again"
        raise conflict(target.kind, target.name, text)


def _apply_conflict(kind: Kind, name: str, found: Sequence[managed_fields.Conflict]) -> ApiError:
    causes = [{"reason": "FieldManagerConflict", "message": c.message, "field": c.field} for c in found]
    by: dict[str, list[str]] = {}
    for c in found:
        by.setdefault(c.message, []).append(c.field)
    text = "; ".join(f"{message}: {', '.join(fields)}" for message, fields in by.items())
    plural = "s" if len(found) != 1 else ""
    details = {"name": name, "group": kind.group, "kind": kind.plural, "causes": causes}
    return ApiError(409, "Conflict", f"Apply failed with {len(found)} conflict{plural}: {text}", details)


async def _followed(write: Awaitable[Record]) -> Record:
    """The commit, noted where the request that asks for it is traced."""
    edit = CURRENT.get()
    if edit is None:
        return await write
    edit.begins_to_commit()
    record = await write
    edit.is_committed(record.revision)
    return record


def _exists(kind: Kind, name: str) -> ApiError:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return ApiError(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', details)


def _stamp() -> Stamp:
    return Stamp(_now(), str(uuid.uuid4()))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
