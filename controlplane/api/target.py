"""What a request is about: from its path to a kind, a place and a subresource; from its query to options. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from controlplane.access import Attributes
from controlplane.api.errors import ApiError, bad_request
from controlplane.api.objects import Place, key_of
from controlplane.resources.kinds import Kind, by_plural
from controlplane.store.port import Key

MAX_LIMIT: Final = 10_000
_VERBS: Final = {
    ("GET", False): "list", ("GET", True): "get", ("HEAD", True): "get", ("POST", False): "create",
    ("PUT", True): "update", ("PATCH", True): "patch", ("DELETE", True): "delete", ("DELETE", False): "deletecollection",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """`name` "" for a collection, `namespace` "" for all namespaces or a kind without."""

    kind: Kind
    namespace: str
    name: str
    subresource: str = ""

    @property
    def key(self) -> Key:
        return key_of(self.kind, self.namespace, self.name)

    @property
    def place(self) -> Place:
        return Place(self.namespace, self.name)

    def attributes(self, verb: str) -> Attributes:
        """A namespace is a resource in itself: what is asked about it is asked there."""
        namespace = self.name if self.kind.kind == "Namespace" else self.namespace
        return Attributes(verb, self.kind.group, self.kind.plural, self.subresource, namespace, self.name)


@dataclass(frozen=True, slots=True)
class Options:
    """Of a write. `manager` "" when the client named none; `validation` Strict, Warn or Ignore."""

    dry_run: bool
    manager: str
    validation: str
    force: bool

    @classmethod
    def of(cls, query: Mapping[str, str], repeated: list[str]) -> Options:
        """`repeated`: the values of `dryRun`. Raises: ApiError."""
        if any(value not in ("All", "") for value in repeated):
            raise bad_request(f"dryRun: {repeated[0]!r} is not All")
        validation = query.get("fieldValidation", "") or "Strict"
        if validation not in ("Strict", "Warn", "Ignore"):
            raise bad_request(f"fieldValidation: {validation!r} is none of Strict, Warn, Ignore")
        manager = query.get("fieldManager", "")
        if len(manager) > 128 or not manager.isprintable():
            raise bad_request("fieldManager must be at most 128 printable characters")
        return cls("All" in repeated, manager, validation, truth(query, "force"))


def target(raw_path: str) -> Target:
    """From `/apis/G/V/[namespaces/NS/]PLURAL[/NAME[/SUB]]` and `/api/v1/…`, still encoded. Raises: ApiError."""
    parts = [unquote(p) for p in raw_path.split("/") if p]
    if not parts or any(p in (".", "..") or "/" in p or "\0" in p for p in parts):
        raise _nothing()
    group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
    namespace = ""
    own = not group and len(rest) == 3 and rest[2] in ("status", "finalize")
    if len(rest) >= 3 and rest[0] == "namespaces" and not own:
        namespace, rest = rest[1], rest[2:]
    kind = by_plural(group, rest[0]) if rest else None
    if kind is None or kind.version != version or len(rest) > 3 or (namespace and not kind.namespaced):
        raise _nothing()
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    if (subresource and subresource != "status") or (subresource and not kind.has_status):
        raise _nothing()
    if kind.namespaced and name and not namespace:
        raise _nothing()
    return Target(kind, namespace, name, subresource)


def verb(method: str, what: Target, query: Mapping[str, str]) -> str:
    """RBAC's word. Raises: ApiError 405."""
    found = _VERBS.get((method, bool(what.name)))
    if what.kind.read_only and found not in ("get", "list"):
        found = None
    if what.subresource and found not in ("get", "update", "patch"):
        found = None
    if found == "create" and what.kind.namespaced and not what.namespace:
        found = None
    if found is None:
        raise ApiError(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )
    return "watch" if found == "list" and truth(query, "watch") else found


def truth(query: Mapping[str, str], name: str) -> bool:
    """Raises: ApiError for what is no truth value."""
    value = query.get(name, "").lower()
    if value not in ("", "0", "1", "false", "true", "f", "t"):
        raise bad_request(f"{name}: {query[name]!r} is not true or false")
    return value in ("1", "true", "t")


def number(query: Mapping[str, str], name: str, most: int) -> int:
    """0 when it is not given. Raises: ApiError."""
    text = query.get(name, "") or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise bad_request(f"{name}: {text!r} is no whole number")
    return min(int(text), most)


def _nothing() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")
