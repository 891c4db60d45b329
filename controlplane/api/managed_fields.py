"""Server-side apply: who owns which field, conflicts, merging. Pure; objects in, objects out.

A path is a tuple of segments as in `fieldsV1`: `f:name` for a field, `k:{"type":"x"}` for an item of a keyed list,
`v:"x"` for a member of a set. Lists that `_KEYED` and `_SETS` do not name are owned whole, as in CRDs without list
types. A map or item also owns itself (`.`), so that an empty one can be told from none.

Source: Kubernetes, "Server-Side Apply"; structured-merge-diff's FieldsV1.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON from outside is narrowed by isinstance, which leaves its parts unknown

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

Object = dict[str, Any]
Path = tuple[str, ...]

_UNOWNED: Final = frozenset({"apiVersion", "kind"})
_UNOWNED_METADATA: Final = frozenset(
    {"name", "generateName", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields",
     "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"}
)  # fmt: skip
_KEYED: Final[dict[Path, str]] = {
    ("f:metadata", "f:ownerReferences"): "uid",
    ("f:status", "f:conditions"): "type",
}
_SETS: Final = frozenset({("f:metadata", "f:finalizers")})
_MAP: Final = object()  # the value of a path that is a map or an item: it has no value of its own


@dataclass(frozen=True, slots=True)
class Manager:
    """Who wrote: the entry of a manager is its own for each operation, version and subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    manager: Manager
    time: str
    fields: frozenset[Path]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field of the applied object that somebody else owns with another value."""

    entry: Entry
    path: Path

    @property
    def field(self) -> str:
        return dotted(self.path)

    @property
    def message(self) -> str:
        manager = self.entry.manager
        label = json.dumps(manager.name)
        if manager.subresource:
            label += f' with subresource "{manager.subresource}"'
        if manager.operation == "Update":
            label += f" using {manager.api_version} at {self.entry.time}"
        return f"conflict with {label}"


def entries_of(obj: Object) -> list[Entry]:
    """From `metadata.managedFields`; what is not readable there is dropped."""
    found: list[Entry] = []
    listed = obj.get("metadata", {}).get("managedFields")
    for item in listed if isinstance(listed, list) else []:
        if not isinstance(item, dict) or not isinstance(item.get("fieldsV1"), dict):
            continue
        manager = Manager(
            str(item.get("manager", "")), str(item.get("operation", "Update")), str(item.get("apiVersion", "")),
            str(item.get("subresource", "")),
        )  # fmt: skip
        found.append(Entry(manager, str(item.get("time", "")), frozenset(_from_tree((), item["fieldsV1"]))))
    return found


def written(entries: Sequence[Entry]) -> list[Object]:
    """As `metadata.managedFields`."""
    result: list[Object] = []
    for entry in entries:
        manager = entry.manager
        item = {
            "manager": manager.name, "operation": manager.operation, "apiVersion": manager.api_version,
            "time": entry.time, "fieldsType": "FieldsV1", "fieldsV1": _tree(entry.fields),
        }  # fmt: skip
        if manager.subresource:
            item["subresource"] = manager.subresource
        result.append(item)
    return result


def after_update(
    old: Object | None, new: Object, entries: Sequence[Entry], manager: Manager, time: str
) -> list[Entry]:
    """Ownership after any write but an apply: what it changed is the writer's, what it removed is nobody's."""
    before, after = paths(old or {}), paths(new)
    changed = {
        p for p, value in after.items() if p not in before or (before[p] is not value and before[p] != value)
    }
    gone = before.keys() - after.keys()
    if not changed and not gone:
        return list(entries)
    taken = {p for p in changed if after[p] is not _MAP}
    result: list[Entry] = []
    own: Entry | None = None
    for entry in entries:
        if entry.manager == manager:
            own = entry
        elif left := entry.fields - taken - gone:
            result.append(replace(entry, fields=left))
    held = own.fields if own else frozenset[Path]()
    fields = (held | changed) - gone
    if fields:
        stamp = own.time if own and own.fields == fields else time
        result.append(Entry(manager, stamp, frozenset(fields)))
    return result


def conflicts(live: Object, body: Object, entries: Sequence[Entry], manager: Manager) -> list[Conflict]:
    """What an apply without force must not overwrite."""
    now, wanted = paths(live), paths(body)
    return [
        Conflict(entry, path)
        for entry in entries
        if entry.manager != manager
        for path in sorted(entry.fields & wanted.keys())
        if wanted[path] is not _MAP and now.get(path) != wanted[path]
    ]


def apply(
    live: Object, body: Object, entries: Sequence[Entry], manager: Manager, time: str
) -> tuple[Object, list[Entry]]:
    """The merged object and its owners; conflicts must have been refused or are forced now."""
    taken = {(c.entry.manager, c.path) for c in conflicts(live, body, entries, manager)}
    wanted = frozenset(paths(body))
    own = next((e for e in entries if e.manager == manager), None)
    others = [
        replace(e, fields=frozenset(p for p in e.fields if (e.manager, p) not in taken))
        for e in entries
        if e.manager != manager
    ]
    merged: Object = _merge((), copy.deepcopy(live), copy.deepcopy(body))
    abandoned = (own.fields if own else frozenset[Path]()) - wanted
    held = frozenset[Path]().union(*(e.fields for e in others))
    for path in sorted(abandoned - held, key=len, reverse=True):
        _remove(merged, path)
    kept = paths(merged).keys()
    others = [replace(e, fields=e.fields & kept) for e in others]
    stamp = own.time if own and own.fields == wanted else time
    return merged, [*(e for e in others if e.fields), Entry(manager, stamp, wanted)]


def paths(obj: Object) -> dict[Path, Any]:
    """Every owned path of an object with its value."""
    found: dict[Path, Any] = {}
    for name, value in obj.items():
        if name in _UNOWNED:
            continue
        if name == "metadata" and isinstance(value, dict):
            for field, inner in value.items():
                if field not in _UNOWNED_METADATA:
                    _walk(("f:metadata", f"f:{field}"), inner, found)
        else:
            _walk((f"f:{name}",), value, found)
    return found


def dotted(path: Path) -> str:
    """`.spec.rules`, `.status.conditions[type="Ready"].status`."""
    text = ""
    for segment in path:
        kind, _, name = segment.partition(":")
        if kind == "f":
            text += f".{name}"
        elif kind == "k":
            pairs = ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(name).items())
            text += f"[{pairs}]"
        else:
            text += f"[={name}]"
    return text


def _walk(path: Path, value: Any, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value:
        found[path] = _MAP
        for name, inner in value.items():
            _walk((*path, f"f:{name}"), inner, found)
    elif isinstance(value, list) and (key := _KEYED.get(path)) and _all_keyed(value, key):
        for item in value:
            place = (*path, _item(key, item[key]))
            found[place] = _MAP
            for name, inner in item.items():
                _walk((*place, f"f:{name}"), inner, found)
    elif isinstance(value, list) and path in _SETS:
        for item in value:
            found[(*path, f"v:{json.dumps(item)}")] = item
    else:
        found[path] = _MAP if value == {} else value


def _merge(path: Path, live: Any, body: Any) -> Any:
    if isinstance(live, dict) and isinstance(body, dict):
        for name, value in body.items():
            live[name] = _merge((*path, f"f:{name}"), live.get(name), value)
        return live
    key = _KEYED.get(path)
    if key and isinstance(live, list) and isinstance(body, list) and _all_keyed([*live, *body], key):
        items = {item[key]: item for item in live}
        for item in body:
            items[item[key]] = _merge((*path, _item(key, item[key])), items.get(item[key]), item)
        return list(items.values())
    if path in _SETS and isinstance(live, list) and isinstance(body, list):
        return [*live, *(item for item in body if item not in live)]
    return body


def _remove(obj: Any, path: Path) -> None:
    """The field at `path`; a map or item only once nothing but its key is left."""
    parent: Any = obj
    for segment in path[:-1]:
        parent = _step(parent, segment)
        if parent is None:
            return
    kind, _, name = path[-1].partition(":")
    if kind == "f" and isinstance(parent, dict):
        if _is_key(path, name):
            return
        value = parent.get(name)
        if not (isinstance(value, dict) and value):
            parent.pop(name, None)
    elif kind == "v" and isinstance(parent, list):
        if (value := json.loads(name)) in parent:
            parent.remove(value)
    elif kind == "k" and isinstance(parent, list):
        keys = json.loads(name)
        parent[:] = [item for item in parent if item != keys]


def _is_key(path: Path, name: str) -> bool:
    """The key field of a keyed item goes with the item, never alone."""
    return len(path) > 1 and path[-2].startswith("k:") and name in json.loads(path[-2][2:])


def _step(value: Any, segment: str) -> Any:
    kind, _, name = segment.partition(":")
    if kind == "f" and isinstance(value, dict):
        return value.get(name)
    if kind == "k" and isinstance(value, list):
        keys = json.loads(name).items()
        return next((i for i in value if isinstance(i, dict) and all(i.get(k) == v for k, v in keys)), None)
    return None


def _all_keyed(items: Sequence[Any], key: str) -> bool:
    return all(isinstance(item, dict) and isinstance(item.get(key), str) for item in items)


def _item(key: str, value: str) -> str:
    return f"k:{json.dumps({key: value}, separators=(',', ':'), sort_keys=True)}"


def _tree(fields: frozenset[Path]) -> Object:
    root: Object = {}
    for path in sorted(fields):
        node = root
        for segment in path:
            node = node.setdefault(segment, {})
    for path in fields:
        node = root
        for segment in path:
            node = node[segment]
        if node:
            node["."] = {}
    return root


def _from_tree(path: Path, tree: Mapping[str, Any]) -> Iterator[Path]:
    if len(path) > 100:
        return
    for segment, inner in tree.items():
        if segment == ".":
            yield path
        elif isinstance(inner, dict) and inner:
            yield from _from_tree((*path, segment), inner)
        else:
            yield (*path, segment)
