"""Request bodies: read with limits on size, time and depth; JSON, YAML for applies, Kubernetes protobuf."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from aiohttp import web

from controlplane.api import protobuf_bodies
from controlplane.api.errors import ApiError, bad_request
from controlplane.resources.yaml_text import read_text

Object = dict[str, Any]
MAX_BODY: Final = 3 * 1024 * 1024
MAX_DEPTH: Final = 100
BODY_SECONDS: Final = web.AppKey("body seconds", float)


async def read_json(request: web.Request) -> Any:
    """The body as JSON values. Raises: ApiError 400, 408, 413, 415."""
    data = await _read(request)
    content_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type == protobuf_bodies.CONTENT_TYPE:
        try:
            return protobuf_bodies.decode(data)
        except protobuf_bodies.BadProtobufError as error:
            raise bad_request(str(error)) from error
    if content_type in ("application/apply-patch+yaml", "application/yaml"):
        return _yaml(data)
    return parse(data)


async def read_optional(request: web.Request) -> Object:
    """{} where there is no body."""
    return await read_object(request) if request.can_read_body and await _read(request) else {}


async def read_object(request: web.Request) -> Object:
    value = await read_json(request)
    if not isinstance(value, dict):
        raise bad_request("the body is no object")
    return value


def parse(data: bytes) -> Any:
    """Raises: ApiError 400."""
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise bad_request("the body is no JSON") from None
    if _depth(value) > MAX_DEPTH:
        raise bad_request(f"the body nests deeper than {MAX_DEPTH}")
    return value


async def _read(request: web.Request) -> bytes:
    seconds = request.app[BODY_SECONDS]
    try:
        async with asyncio.timeout(seconds):
            return await request.read()
    except TimeoutError:
        raise ApiError(408, "Timeout", f"the body did not arrive within {seconds:g} seconds") from None


def _yaml(data: bytes) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise bad_request("the body is no UTF-8") from None
    documents, problems = read_text(text, "body")
    if problems or len(documents) != 1:
        raise bad_request("; ".join(map(str, problems)) or "the body must hold one YAML document")
    return documents[0].value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


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
