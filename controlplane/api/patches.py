"""The patches a client may send, applied to an object: RFC 7396 and RFC 6902. Pure."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Final

from controlplane.api.errors import ApiError, bad_request

Object = dict[str, Any]
MOST_OPERATIONS: Final = 1_000


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result: Object = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902. Raises: ApiError 400 when it is no patch, 422 when a test or a path fails."""
    if not isinstance(operations, list):
        raise bad_request("a JSON patch is a list of operations")
    if len(operations) > MOST_OPERATIONS:
        raise ApiError(413, "RequestEntityTooLarge", f"a JSON patch has at most {MOST_OPERATIONS} operations")
    document = copy.deepcopy(target)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise bad_request("every operation of a JSON patch has op and path")
        if operation.get("op") in ("add", "replace", "test") and "value" not in operation:
            raise bad_request(f"the operation {operation['op']} needs a value")
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: Object) -> Any:
    path = _pointer(operation["path"])
    match operation.get("op"):
        case "add":
            return _set(document, path, copy.deepcopy(operation.get("value")), insert=True)
        case "replace":
            _look(document, path)
            return _set(document, path, copy.deepcopy(operation.get("value")), insert=False)
        case "remove":
            return _remove(document, path)
        case "test":
            if _look(document, path) != operation.get("value"):
                raise ApiError(422, "Invalid", f"the test of {operation['path']} failed")
            return document
        case "move" | "copy" as what if isinstance(operation.get("from"), str):
            source = _pointer(operation["from"])
            value = copy.deepcopy(_look(document, source))
            if what == "move":
                document = _remove(document, source)
            return _set(document, path, value, insert=True)
        case other:
            raise bad_request(f"{other!r} is no operation of a JSON patch")


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise bad_request(f"{text!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _look(document: Any, path: Sequence[str]) -> Any:
    for part in path:
        match document:
            case dict() if part in document:
                document = document[part]
            case list() if _is_index(part) and int(part) < len(document):
                document = document[int(part)]
            case _:
                raise ApiError(422, "Invalid", f"/{'/'.join(path)} does not exist")
    return document


def _set(document: Any, path: Sequence[str], value: Any, *, insert: bool) -> Any:
    if not path:
        return value
    parent, last = _look(document, path[:-1]), path[-1]
    match parent:
        case dict():
            parent[last] = value
        case list() if last == "-":
            parent.append(value)
        case list() if _is_index(last) and int(last) <= len(parent):
            parent[int(last) : int(last) + (0 if insert else 1)] = [value]
        case _:
            raise ApiError(422, "Invalid", f"/{'/'.join(path)} does not exist")
    return document


def _remove(document: Any, path: Sequence[str]) -> Any:
    _look(document, path)
    if not path:
        raise bad_request("the whole object cannot be removed by a patch")
    parent = _look(document, path[:-1])
    if isinstance(parent, dict):
        del parent[path[-1]]
    else:
        del parent[int(path[-1])]
    return document


def _is_index(part: str) -> bool:
    """RFC 6901: no sign, no leading zero."""
    return part.isascii() and part.isdigit() and (part == "0" or not part.startswith("0")) and len(part) < 10
