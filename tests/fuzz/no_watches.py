"""A hook of schemathesis: a watch is a stream of events, which no schema of one answer fits; other tests watch."""

# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false, reportUntypedFunctionDecorator=false
# schemathesis lives in an environment of its own

from __future__ import annotations

from typing import Any

import schemathesis

_TRUE = {"1", "t", "true"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if str((case.query or {}).get("watch", "")).lower() in _TRUE:
        case.query["watch"] = "false"
