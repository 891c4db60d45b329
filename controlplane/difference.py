"""What changed between two objects, field by field: for the audit log and `pylis history`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

MOST: Final = 100  # differences in one answer
LONGEST: Final = 1_000  # characters of one value
_SERVERS: Final = frozenset(
    {"metadata.managedFields", "metadata.resourceVersion", "metadata.generation", "metadata.uid",
     "metadata.creationTimestamp", "status", "apiVersion", "kind"}
)  # fmt: skip
_SECRET: Final = ("data", "stringData")


def differences(
    old: dict[str, Any] | None, new: dict[str, Any] | None, *, secret: bool = False
) -> list[dict[str, Any]]:
    """`{path, old?, new?}` for each field that differs, without what the server wrote; bounded.

    With `secret`, values under `data` are never shown.
    """
    found: list[dict[str, Any]] = []
    for path, before, after in _walk("", old or {}, new or {}):
        if len(found) == MOST:
            found.append({"path": "…", "new": "more differences are not shown"})
            break
        hidden = secret and path.split(".")[0] in _SECRET
        entry: dict[str, Any] = {"path": path}
        if before is not None:
            entry["old"] = "[redacted]" if hidden else _short(before)
        if after is not None:
            entry["new"] = "[redacted]" if hidden else _short(after)
        found.append(entry)
    return found


def _walk(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if old == new or path in _SERVERS:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        for name in dict.fromkeys([*before, *after]):
            where = f"{path}.{name}" if path else name
            yield from _walk(where, before.get(name), after.get(name))
    else:
        yield path, old, new


def _short(value: Any) -> Any:
    text = value if isinstance(value, str) else repr(value)
    return value if len(text) <= LONGEST else f"{text[:LONGEST]}…"
