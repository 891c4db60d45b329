"""Answers: an object or a list as JSON, or as the Table that `kubectl get` asks for; warnings as headers."""

from __future__ import annotations

import base64
import binascii
import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import is_
from typing import Any, Final

from aiohttp import web

from controlplane.api import objects, tables
from controlplane.api.errors import ApiError
from controlplane.resources.kinds import Kind
from controlplane.store.port import Record
from policies.problem import Problem

MOST_WARNINGS: Final = 20
LISTS_KEPT: Final = 16
MOST_KEPT: Final = 256 * 1024  # bytes of a list that is kept


def wants_table(request: web.Request) -> bool:
    """By the first form the client accepts."""
    return "as=Table" in request.headers.get("Accept", "").partition(",")[0]


def one(
    request: web.Request,
    kind: Kind,
    record: Record,
    status: int = 200,
    warnings: Sequence[Problem] = (),
    notes: Sequence[str] = (),
) -> web.Response:
    """`notes`: what else people are told, as warnings."""
    if wants_table(request):
        obj = objects.shown(kind, record)
        metadata = {"resourceVersion": str(record.revision)}
        include = request.query.get("includeObject", "")
        body = json.dumps(tables.table(kind, [obj], metadata, datetime.now(UTC), include=include))
    else:
        body = objects.shown_text(kind, record)
    return json_text(body, status, [*warning_headers(warnings), *note_headers(notes)])


class Lists:
    """Lists as JSON. What was listed last is kept as bytes, for as long as the very same records are listed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], tuple[Sequence[Record], bytes]] = OrderedDict()

    def many(
        self, request: web.Request, kind: Kind, records: Sequence[Record], metadata: Mapping[str, Any]
    ) -> web.Response:
        if wants_table(request):
            found = [objects.shown(kind, record) for record in records]
            include = request.query.get("includeObject", "")
            table = tables.table(kind, found, metadata, datetime.now(UTC), include=include)
            return json_text(json.dumps(table))
        head = json.dumps({"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata})
        return json_bytes(b"".join([head[:-1].encode(), b', "items": [', self._items(kind, records), b"]}"]))

    def _items(self, kind: Kind, records: Sequence[Record]) -> bytes:
        if not records:
            return b""
        place = (kind.resource, records[0].key.namespace)
        kept = self._kept.get(place)
        # the same objects, not equal ones: a comparison of texts would cost what it saves
        if kept and len(kept[0]) == len(records) and all(map(is_, kept[0], records)):
            self._kept.move_to_end(place)
            return kept[1]
        items = ",".join([objects.shown_text(kind, record) for record in records]).encode()
        if len(items) <= MOST_KEPT:
            self._kept[place] = (records, items)
            self._kept.move_to_end(place)
            if len(self._kept) > LISTS_KEPT:
                self._kept.popitem(last=False)
        return items


def json_text(body: str, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> web.Response:
    return json_bytes(body.encode(), status, headers)


def json_bytes(body: bytes, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> web.Response:
    response = web.Response(body=body, status=status, content_type="application/json")
    for name, value in headers:
        response.headers.add(name, value)
    return response


def warning_headers(problems: Sequence[Problem]) -> list[tuple[str, str]]:
    """RFC 7234, section 5.5; what cannot stand in a header is replaced."""
    return [("Warning", f'299 - "{_quoted(_text(p))}"') for p in problems[:MOST_WARNINGS]]


def note_headers(notes: Sequence[str]) -> list[tuple[str, str]]:
    return [("Warning", f'299 - "{_quoted(note)}"') for note in notes]


def success(kind: Kind, name: str, uid: str, notes: Sequence[str] = ()) -> web.Response:
    details = {"name": name, "group": kind.group, "kind": kind.plural, "uid": uid}
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
    return json_text(json.dumps(status), headers=note_headers(notes))


def next_page(revision: int, last: Record) -> str:
    """An opaque `continue`: the revision of the first page and the last key shown."""
    value = json.dumps([revision, last.key.namespace, last.key.name])
    return base64.urlsafe_b64encode(value.encode()).decode()


def page_after(token: str) -> tuple[int, tuple[str, str]]:
    """Raises: ApiError 400 for what `next_page` did not make."""
    try:
        revision, namespace, name = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, binascii.Error, RecursionError):
        revision = namespace = name = None
    if not isinstance(revision, int) or not isinstance(namespace, str) or not isinstance(name, str):
        raise ApiError(400, "BadRequest", "continue key is not valid: it is none of this server's")
    return revision, (namespace, name)


def _text(problem: Problem) -> str:
    if problem.message == "unknown field":
        return f'unknown field "{problem.path}"'
    text = f"{problem.path}: {problem.message}" if problem.path else problem.message
    return f"{problem.code} {text}; {problem.hint}" if problem.hint else f"{problem.code} {text}"


def _quoted(text: str) -> str:
    clean = "".join(c if " " <= c <= "~" else "?" for c in text)[:500]
    return clean.replace("\\", "\\\\").replace('"', '\\"')
