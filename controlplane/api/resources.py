"""Handlers of the kinds: create, get, list, watch, replace, patch, delete, deletecollection."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownLambdaType=false, reportUnknownParameterType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from controlplane.api import objects
from controlplane.api.errors import ApiError, bad_request, from_store, not_found
from controlplane.api.objects import Object
from controlplane.api.tokens import CALLER, Caller
from controlplane.audit import Entry
from controlplane.difference import differences
from controlplane.resources.kinds import Kind, by_plural
from controlplane.store.port import Change, Event, Key, Record, Store, StoreError

_TABLE: Final = "as=Table"
_PATCHES: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "application/merge-patch+json": objects.merge_patch,
    "application/json-patch+json": objects.json_patch,
}
MAX_DEPTH: Final = 100


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names; `name` "" for a collection, `namespace` "" for all."""

    kind: Kind
    namespace: str
    name: str

    @property
    def key(self) -> Key:
        return objects.key_of(self.kind, self.namespace, self.name)


class Resources:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any method on a collection or an object."""
        target = _target(request)
        try:
            match request.method, bool(target.name):
                case "GET", False:
                    watching = request.query.get("watch") in ("1", "true")
                    return await (self._watch(request, target) if watching else self._list(request, target))
                case "GET", True:
                    record = await self._expect(target)
                    return _answer(request, target.kind, record)
                case "POST", False:
                    return await self._create(request, target)
                case "PUT", True:
                    return await self._replace(request, target)
                case "PATCH", True:
                    return await self._patch(request, target)
                case "DELETE", True:
                    return await self._delete(request, target)
                case "DELETE", False:
                    return await self._delete_collection(request, target)
                case _:
                    raise ApiError(405, "MethodNotAllowed", f"{request.method} is not served here")
        except StoreError as error:
            raise from_store(error, target.kind, target.name) from error

    async def _expect(self, target: Target) -> Record:
        record = await self._store.get(target.key)
        if record is None:
            raise not_found(target.kind, target.name)
        return record

    async def _list(self, request: web.Request, target: Target) -> web.Response:
        records, revision = await self._store.list(target.kind.resource, target.namespace or None)
        wanted = _filter(request)
        found = [o for r in records if wanted(o := objects.shown(target.kind, r))]
        start, limit = _page(request)
        page = found[start : start + limit] if limit else found[start:]
        metadata: Object = {"resourceVersion": str(revision)}
        if limit and start + limit < len(found):
            metadata |= {"continue": str(start + limit), "remainingItemCount": len(found) - start - limit}
        if _wants_table(request):
            body = objects.table(target.kind, page, revision, datetime.now(UTC))
            body["metadata"] = metadata
        else:
            kind = target.kind
            body = {
                "kind": f"{kind.kind}List",
                "apiVersion": kind.api_version,
                "metadata": metadata,
                "items": page,
            }
        return web.json_response(body)

    async def _create(self, request: web.Request, target: Target) -> web.Response:
        body = await read_object(request)
        metadata = body.get("metadata")
        if (
            isinstance(metadata, dict)
            and not metadata.get("name")
            and isinstance(metadata.get("generateName"), str)
        ):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        stored = objects.accept(target.kind, body, target.namespace, "", None, _now(), str(uuid.uuid4()))
        await self._namespace_exists(target)
        key = objects.key_of(target.kind, target.namespace, stored["metadata"]["name"])
        if _dry_run(request):
            if await self._store.get(key) is not None:
                raise ApiError(409, "AlreadyExists", f'{target.kind.resource} "{key.name}" already exists')
            return _answer(request, target.kind, Record.of(key, stored, 0, 0), 201)
        try:
            entry = _entry(request, "create", key, None, stored)
            record = await self._store.create(key, stored, audit=entry)
        except StoreError as error:
            raise from_store(error, target.kind, key.name) from error
        return _answer(request, target.kind, record, 201)

    async def _replace(self, request: web.Request, target: Target) -> web.Response:
        return await self._write(request, target, await read_object(request), await self._expect(target))

    async def _patch(self, request: web.Request, target: Target) -> web.Response:
        content_type = request.content_type
        apply = _PATCHES.get(content_type)
        if content_type == "application/strategic-merge-patch+json" and not target.kind.group:
            apply = objects.merge_patch
        if apply is None:
            known = ", ".join(_PATCHES)
            raise ApiError(
                415,
                "UnsupportedMediaType",
                f"{content_type} is not served for {target.kind.kind}; use {known}",
            )
        record = await self._expect(target)
        patch = await read_json(request)
        if content_type.endswith("merge-patch+json") and not isinstance(patch, dict):
            raise bad_request("a merge patch is an object")
        return await self._write(request, target, apply(objects.shown(target.kind, record), patch), record)

    async def _write(self, request: web.Request, target: Target, body: Any, old: Record) -> web.Response:
        if not isinstance(body, dict):
            raise bad_request("the result is no object")
        expected = objects.expected_revision(body)
        if expected is not None and expected != old.revision:
            text = "the object has been modified; read it again and apply your change to that"
            raise ApiError(
                409,
                "Conflict",
                f'Operation cannot be fulfilled on {target.kind.resource} "{target.name}": {text}',
            )
        stored = objects.accept(target.kind, body, target.namespace, target.name, old.value, _now(), "")
        if _dry_run(request):
            return _answer(request, target.kind, Record.of(old.key, stored, old.created, old.revision))
        entry = _entry(
            request, "patch" if request.method == "PATCH" else "update", target.key, old.value, stored
        )
        record = await self._store.replace(target.key, stored, old.revision, audit=entry)
        return _answer(request, target.kind, record)

    async def _delete(self, request: web.Request, target: Target) -> web.Response:
        record = await self._expect(target)
        if target.kind.kind == "Namespace":
            await self._namespace_is_empty(target.name)
        if not _dry_run(request):
            entry = _entry(request, "delete", target.key, record.value, None)
            await self._store.delete(target.key, record.revision, audit=entry)
        details = {"name": target.name, "group": target.kind.group, "kind": target.kind.plural}
        details["uid"] = record.value["metadata"]["uid"]
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }
        return web.json_response(status)

    async def _delete_collection(self, request: web.Request, target: Target) -> web.Response:
        records, revision = await self._store.list(target.kind.resource, target.namespace or None)
        wanted = _filter(request)
        gone = [r for r in records if wanted(objects.shown(target.kind, r))]
        for record in gone if not _dry_run(request) else ():
            entry = _entry(request, "deletecollection", record.key, record.value, None)
            await self._store.delete(record.key, audit=entry)
        items = [objects.shown(target.kind, r) for r in gone]
        kind = target.kind
        metadata = {"resourceVersion": str(revision)}
        return web.json_response(
            {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata, "items": items}
        )

    async def _watch(self, request: web.Request, target: Target) -> web.StreamResponse:
        """Newline-separated events; without a resourceVersion the present state comes first."""
        wanted, kind = _filter(request), target.kind
        version = request.query.get("resourceVersion", "")
        records: list[Record] = []
        if version in ("", "0"):
            records, after = await self._store.list(kind.resource, target.namespace or None)
        elif version.isascii() and version.isdigit():
            after = int(version)
        else:
            raise bad_request("resourceVersion is none of this server's")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        as_table, first = _wants_table(request), True

        async def send(change: str, obj: Object) -> None:
            nonlocal first
            body = objects.table(kind, [obj], after, datetime.now(UTC), header=first) if as_table else obj
            first = False
            await response.write(json.dumps({"type": change, "object": body}).encode() + b"\n")

        shown: set[Key] = set()
        for record in records:
            if wanted(obj := objects.shown(kind, record)):
                shown.add(record.key)
                await send("ADDED", obj)
        try:
            async for event in self._store.watch(after):
                if event.record.key.resource != kind.resource or not _inside(event, target):
                    continue
                obj = objects.shown(kind, event.record)
                change = _seen_as(event, wanted(obj), event.record.key in shown or not records)
                if change:
                    (shown.discard if change == "DELETED" else shown.add)(event.record.key)
                    await send(change, obj)
        except StoreError as error:
            status = from_store(error, kind, "").status()
            await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
        return response

    async def _namespace_exists(self, target: Target) -> None:
        if not target.kind.namespaced:
            return
        if await self._store.get(Key("namespaces", "", target.namespace)) is None:
            details = {"name": target.namespace, "kind": "namespaces"}
            raise ApiError(404, "NotFound", f'namespaces "{target.namespace}" not found', details)

    async def _namespace_is_empty(self, name: str) -> None:
        from controlplane.resources.kinds import KINDS

        for kind in KINDS:
            if kind.namespaced and (await self._store.list(kind.resource, name))[0]:
                text = f'namespace "{name}" still holds {kind.plural}; delete them first'
                raise ApiError(409, "Conflict", text)


def _entry(request: web.Request, verb: str, key: Key, old: Object | None, new: Object | None) -> Entry:
    """What the audit log keeps of a change: a diff without what the server itself wrote."""
    caller = request.get(CALLER) or Caller("")
    detail = {"diff": differences(old, new, secret=key.resource == "secrets")}
    return Entry(
        verb, caller.name, resource=key.resource, namespace=key.namespace, name=key.name, source=caller.source,
        request_id=caller.request_id, detail=detail,
    )  # fmt: skip


def _seen_as(event: Event, wanted: bool, was_shown: bool) -> str | None:
    """A selector that stops matching is a deletion; one that starts is an addition."""
    if event.change is Change.DELETED:
        return "DELETED" if wanted or was_shown else None
    if not wanted:
        return "DELETED" if was_shown and event.change is Change.MODIFIED else None
    return str(event.change)


def _inside(event: Event, target: Target) -> bool:
    return target.namespace in ("", event.record.key.namespace)


def _target(request: web.Request) -> Target:
    """From `/apis/G/V/[namespaces/NS/]PLURAL[/NAME]` and `/api/v1/…`."""
    parts = [p for p in request.path.split("/") if p]
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    kind = by_plural(group, rest[0]) if rest else None
    if kind is None or kind.version != version or len(rest) > 2 or (namespace and not kind.namespaced):
        raise ApiError(404, "NotFound", "the server could not find the requested resource")
    name = rest[1] if len(rest) == 2 else ""
    if kind.namespaced and not namespace and (name or request.method not in ("GET", "DELETE")):
        raise ApiError(404, "NotFound", f"{kind.plural} live in a namespace: /namespaces/NAME/{kind.plural}")
    return Target(kind, namespace, name)


async def read_json(request: web.Request) -> Any:
    """The body as JSON. Raises: ApiError 400."""
    data = await request.read()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise bad_request("the body is no JSON") from None
    if _depth(value) > MAX_DEPTH:
        raise bad_request(f"the body nests deeper than {MAX_DEPTH}")
    return value


async def read_object(request: web.Request) -> Object:
    value = await read_json(request)
    if not isinstance(value, dict):
        raise bad_request("the body is no object")
    return value


def _depth(value: Any) -> int:
    """Walks level by level, so that a deep body cannot exhaust the stack."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth


def _answer(request: web.Request, kind: Kind, record: Record, status: int = 200) -> web.Response:
    obj = objects.shown(kind, record)
    body = objects.table(kind, [obj], record.revision, datetime.now(UTC)) if _wants_table(request) else obj
    return web.json_response(body, status=status)


def _wants_table(request: web.Request) -> bool:
    return _TABLE in request.headers.get("Accept", "").split(",")[0]


def _filter(request: web.Request) -> Callable[[Object], bool]:
    labels = objects.label_selector(request.query.get("labelSelector", ""))
    fields = objects.field_selector(request.query.get("fieldSelector", ""))
    return lambda obj: labels(obj["metadata"].get("labels") or {}) and fields(obj)


def _page(request: web.Request) -> tuple[int, int]:
    start, limit = request.query.get("continue", "0") or "0", request.query.get("limit", "0") or "0"
    if not (start.isascii() and start.isdigit() and limit.isascii() and limit.isdigit()):
        raise bad_request("limit and continue are numbers of this server")
    return int(start), int(limit)


def _dry_run(request: web.Request) -> bool:
    return "All" in request.query.getall("dryRun", [])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
