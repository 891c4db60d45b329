"""Handlers of the kinds: a request is read, authorized, handed to reads, writes or watches, and answered."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from controlplane.api import answers, objects, target
from controlplane.api.authorization import Authorization
from controlplane.api.bodies import read_json, read_object, read_optional
from controlplane.api.callers import caller_of, note_target
from controlplane.api.errors import ApiError, from_store, not_found
from controlplane.api.objects import Object
from controlplane.api.selectors import field_selector, label_selector
from controlplane.api.target import Options, Target
from controlplane.api.watching import Watches
from controlplane.api.writes import Author, Deletion, Writes
from controlplane.resources.kinds import Kind
from controlplane.store.port import Record, Store, StoreError

WhatIf = Callable[[Kind, Object | None, Object | None], Awaitable[list[str]]]


class Resources:
    """`what_if` says what a change of one object would mean: for dry runs."""

    def __init__(
        self,
        store: Store,
        authorization: Authorization,
        writes: Writes,
        watches: Watches,
        what_if: WhatIf,
    ) -> None:
        self._what_if = what_if
        self._lists = answers.Lists()
        self._store = store
        self._authorization = authorization
        self._writes = writes
        self._watches = watches

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any method on a collection, an object or its status."""
        what = target.target(request.rel_url.raw_path)
        verb = target.verb(request.method, what, request.query)
        wanted = what.attributes(verb)
        note_target(request, verb, what.key)
        await self._authorization.require(caller_of(request), wanted)
        try:
            match verb:
                case "get":
                    return answers.one(request, what.kind, await self._expect(what))
                case "list":
                    return await self._list(request, what)
                case "watch":
                    wanted_objects, selects = _filter(request)
                    return await self._watches.serve(request, what, wanted_objects, selects)
                case "delete" | "deletecollection":
                    return await self._delete(request, what, whole=verb == "deletecollection")
                case _:
                    return await self._write(request, what, verb)
        except StoreError as error:
            raise from_store(error, what.kind, what.name) from error

    async def _expect(self, what: Target) -> Record:
        record = await self._store.get(what.key)
        if record is None:
            raise not_found(what.kind, what.name)
        return record

    async def _list(self, request: web.Request, what: Target) -> web.Response:
        limit = target.number(request.query, "limit", target.MAX_LIMIT)
        token = request.query.get("continue", "")
        first, after = answers.page_after(token) if token else (0, None)
        records, revision = await self._store.list(what.kind.resource, what.namespace or None)
        if first > revision:
            raise ApiError(410, "Expired", "The provided continue parameter is too old to be used")
        wanted, selects = _filter(request)
        if after is not None:
            records = [r for r in records if (r.key.namespace, r.key.name) > after]
        if selects:
            records = [r for r in records if wanted(objects.shown(what.kind, r))]
        metadata: dict[str, Any] = {"resourceVersion": str(first or revision)}
        if limit and len(records) > limit:
            metadata["continue"] = answers.next_page(first or revision, records[limit - 1])
            if not selects:
                metadata["remainingItemCount"] = len(records) - limit
            records = records[:limit]
        return self._lists.many(request, what.kind, records, metadata)

    async def _write(self, request: web.Request, what: Target, verb: str) -> web.Response:
        author = _author(request)
        old = await self._store.get(what.key) if author.options.dry_run and what.name else None
        match verb:
            case "create":
                body = await read_object(request)
                metadata = body.get("metadata")
                if isinstance(metadata, dict) and isinstance(name := metadata.get("name"), str):
                    note_target(request, verb, replace(what.key, name=name))
                done = await self._writes.create(what, body, author)
            case "update":
                done = await self._writes.replace(what, await read_object(request), author)
            case _:
                content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
                done = await self._writes.patch(what, content_type, await read_json(request), author)
        status = 201 if done.created else 200
        notes = await self._tried(what, author, old, done.record)
        return answers.one(request, what.kind, done.record, status, done.warnings, notes)

    async def _tried(self, what: Target, author: Author, old: Record | None, new: Record | None) -> list[str]:
        """Nothing but for a dry run."""
        if not author.options.dry_run or what.subresource:
            return []
        return await self._what_if(what.kind, old.value if old else None, new.value if new else None)

    async def _delete(self, request: web.Request, what: Target, *, whole: bool) -> web.Response:
        body = await read_optional(request)
        author, deletion = _author(request), Deletion.of(body, request.query)
        if "All" in body.get("dryRun", ()):
            author = replace(author, options=replace(author.options, dry_run=True))
        if not whole:
            gone = (await self._writes.delete(what, author, deletion)).record
            metadata = gone.value["metadata"]
            if "deletionTimestamp" in metadata:
                return answers.one(request, what.kind, gone)
            notes = await self._tried(what, author, gone, None)
            return answers.success(what.kind, what.name, metadata["uid"], notes)
        records, revision = await self._store.list(what.kind.resource, what.namespace or None)
        wanted, selects = _filter(request)
        chosen = [r for r in records if not selects or wanted(objects.shown(what.kind, r))]
        for record in chosen:
            one = Target(what.kind, record.key.namespace, record.key.name)
            await _gone(self._writes.delete(one, author, deletion))
        return self._lists.many(request, what.kind, chosen, {"resourceVersion": str(revision)})


async def _gone(deleting: Any) -> None:
    """Somebody else's deletion is as good as ours."""
    try:
        await deleting
    except ApiError as error:
        if error.code != 404:
            raise


def _author(request: web.Request) -> Author:
    return Author(caller_of(request), Options.of(request.query, request.query.getall("dryRun", [])))


def _filter(request: web.Request) -> tuple[Callable[[Object], bool], bool]:
    """The selectors, and whether they select at all. Raises: ApiError."""
    label_text, field_text = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    labels, fields = label_selector(label_text), field_selector(field_text)

    def wanted(obj: Object) -> bool:
        return labels(obj["metadata"].get("labels") or {}) and fields(obj)

    return wanted, bool(label_text or field_text)
