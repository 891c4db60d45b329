"""What a refused caller reads: the terse sentence of RBAC, or, while developing, the rule and what to run.

Only answers of the authorization filter are changed, never one of the application.
Source: envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig
"""

from __future__ import annotations

from typing import Final

from xds import names
from xds.schema import new

_RBAC: Final = "envoy.filters.http.rbac"
_RULE: Final = f"{names.ENFORCED_PREFIX}enforced_effective_policy_id"
_RESULT: Final = f"{names.ENFORCED_PREFIX}enforced_engine_result"
_TEXT: Final = (
    "RBAC: access denied\n"
    f"decided by %DYNAMIC_METADATA({_RBAC}:{_RULE})%\n"
    "to see why, run: pylis why %REQ(X-REQUEST-ID)%\n"
)


def local_replies(explain: bool) -> dict[str, object]:
    """The connection manager's `local_reply_config`, where denials are explained."""
    if not explain:
        return {}
    denied = new(
        "envoy.type.matcher.v3.MetadataMatcher",
        filter=_RBAC,
        path=[{"key": _RESULT}],
        value={"string_match": new("envoy.type.matcher.v3.StringMatcher", exact="denied")},
    )
    filter_ = {"metadata_filter": {"matcher": denied, "match_if_key_not_found": {"value": False}}}
    body = {"text_format_source": {"inline_string": _TEXT}}
    return {"local_reply_config": {"mappers": [{"filter": filter_, "body_format_override": body}]}}
