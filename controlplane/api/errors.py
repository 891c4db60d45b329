"""The one place that words refusals: every error is a Kubernetes `Status`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from controlplane.access import Attributes
from controlplane.resources.kinds import Kind
from controlplane.store.port import (
    AlreadyExistsError,
    ConflictError,
    FullError,
    GoneError,
    NotFoundError,
    StoreError,
    UnavailableError,
)
from policies import codes
from policies.problem import Problem


class ApiError(Exception):
    """A refusal with its HTTP status and Kubernetes reason."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.details = details or {}

    def status(self) -> dict[str, Any]:
        return {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": str(self),
            "reason": self.reason, "details": self.details, "code": self.code,
        }  # fmt: skip


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def not_found(kind: Kind, name: str) -> ApiError:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return ApiError(404, "NotFound", f'{kind.resource} "{name}" not found', details)


def conflict(kind: Kind, name: str, text: str) -> ApiError:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {text}'
    return ApiError(409, "Conflict", message, details)


def forbidden(wanted: Attributes, reason: str) -> ApiError:
    """Names the missing permission."""
    resource = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
    what = wanted.url or (f'{resource} "{wanted.name}"' if wanted.name else resource)
    details = {"name": wanted.name, "group": wanted.group, "kind": wanted.resource}
    return ApiError(403, "Forbidden", f"{what} is forbidden: {reason}", details)


def invalid(kind: Kind, name: str, problems: Sequence[Problem]) -> ApiError:
    """All problems at once; unknown fields alone are a 400, as Kubernetes' strict decoding answers."""
    if all(p.code == codes.UNKNOWN_FIELD for p in problems):
        fields = ", ".join(f'unknown field "{p.path}"' for p in problems)
        return bad_request(
            f"{kind.kind} in version {kind.version} cannot be handled: strict decoding error: {fields}"
        )
    causes = [{"reason": _cause(p), "field": p.path, "message": _text(p)} for p in problems]
    label = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    text = "; ".join(f"{p.path}: {_text(p)}" for p in problems)
    details = {"name": name, "group": kind.group, "kind": kind.kind, "causes": causes}
    return ApiError(422, "Invalid", f'{label} "{name}" is invalid: {text}', details)


def from_store(error: StoreError, kind: Kind, name: str) -> ApiError:
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    match error:
        case AlreadyExistsError():
            return ApiError(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', details)
        case NotFoundError():
            return not_found(kind, name)
        case ConflictError():
            text = f'Operation cannot be fulfilled on {kind.resource} "{name}": the object has been modified'
            return ApiError(409, "Conflict", f"{text}; read it again and apply your change to that", details)
        case GoneError():
            return ApiError(410, "Expired", f"too old resource version: {error}")
        case UnavailableError():
            return _unavailable(error)
        case _:
            return ApiError(500, "InternalError", "the store failed; see the server's log")


def words(error: Exception) -> ApiError:
    """Whatever ended a request, as a Status."""
    match error:
        case ApiError():
            return error
        case web.HTTPException():
            reasons = {404: "NotFound", 405: "MethodNotAllowed", 413: "RequestEntityTooLarge"}
            texts = {404: "the server could not find the requested resource"}
            text = texts.get(error.status, error.reason)
            return ApiError(error.status, reasons.get(error.status, "BadRequest"), text)
        case UnavailableError():
            return _unavailable(error)
        case _:
            return ApiError(500, "InternalError", "the store failed; see the server's log")


def _unavailable(error: UnavailableError) -> ApiError:
    """Not in the store's own words, which may name hosts and files: those are in the log."""
    text = "the store cannot be used now; try again"
    if isinstance(error, FullError):
        text = "the store's disk is full: nothing was written; make room on it, the server goes on by itself"
    return ApiError(503, "ServiceUnavailable", text, {"retryAfterSeconds": 1})


def _cause(problem: Problem) -> str:
    if problem.code in (codes.MISSING, codes.EMPTY_LIST, codes.EMPTY_TEXT):
        return "FieldValueRequired"
    if problem.code == codes.WRONG_TYPE:
        return "FieldValueTypeInvalid"
    return "FieldValueNotSupported" if problem.code == codes.NOT_A_CHOICE else "FieldValueInvalid"


def _text(problem: Problem) -> str:
    return f"{problem.message}; {problem.hint}" if problem.hint else problem.message


def respond(error: ApiError) -> web.Response:
    headers = {"Retry-After": "1"} if error.code in (429, 503) else {}
    return web.json_response(error.status(), status=error.code, headers=headers)
