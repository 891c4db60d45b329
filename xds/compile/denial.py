"""What a refused caller reads: the terse sentence of RBAC, or, while developing, the rule and what to run.

Only answers of the authorization filter are changed, never one of the application.
Source: envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig
"""

from __future__ import annotations

from typing import Final

from xds.schema import new, pack

_FILTER: Final = "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
_DETAILS: Final = "rbac_access_denied_matched_policy["
# the metadata that names the rule is not written yet when the answer is made, the details are
_TEXT: Final = (
    "RBAC: access denied\n"
    "decided by %RESPONSE_CODE_DETAILS%\n"
    "to see why, run: pylis why %REQ(X-REQUEST-ID)%\n"
)


def local_replies(explain: bool) -> dict[str, object]:
    """The connection manager's `local_reply_config`, where denials are explained."""
    if not explain:
        return {}
    denied = new(_FILTER, expression=f"response.code_details.startsWith('{_DETAILS}')")
    filter_ = {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": pack(denied),
        }
    }
    body = {"text_format_source": {"inline_string": _TEXT}}
    return {"local_reply_config": {"mappers": [{"filter": filter_, "body_format_override": body}]}}
