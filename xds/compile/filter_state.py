"""Texts that a filter writes once, so that matchers may be keyed on them: per connection or per request.

A key that nothing wrote reads as an absent attribute, which would open DENY rules: whoever puts a matcher into
a chain asks here for the filter that fills what it looks at.
Source: envoy.extensions.filters.{network,http}.set_filter_state.v3
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.message import Message

from xds import names
from xds.compile.keys import Source
from xds.schema import new, pack

_STATE: Final = "envoy.extensions.filters.common.set_filter_state.v3.FilterStateValue"
_TOKEN: Final = "DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:"  # noqa: S105 - a format

# what a request has at once, and what it has only after its tokens were checked
REQUEST_TEXTS: Final[dict[Source, tuple[str, str]]] = {
    Source.PATH: (names.PATH_KEY, "%PATH(NQ:PATH)%"),
    Source.HOST: (names.HOST_KEY, "%CEL(request.host.lowerAscii())%"),
}
TOKEN_TEXTS: Final[dict[Source, tuple[str, str]]] = {
    Source.ISSUER: (names.ISSUER_KEY, f"%{_TOKEN}iss)%"),
    Source.SUBJECT: (names.SUBJECT_KEY, f"%{_TOKEN}sub)%"),
}


def identity() -> Message:
    """Every URI SAN of the peer and its serial, once per connection; nothing on plaintext. Must come first."""
    return new(
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
        on_downstream_tls_handshake=[
            _state(names.PRINCIPAL_KEY, "%DOWNSTREAM_PEER_URI_SAN%"),
            _state(names.SERIAL_KEY, "%DOWNSTREAM_PEER_SERIAL%"),
        ],
    )


def request_texts(wanted: Iterable[Source], texts: dict[Source, tuple[str, str]]) -> Message | None:
    """The HTTP filter that writes those of `texts` that are wanted; None when none is."""
    states = [_state(*texts[source]) for source in sorted(wanted) if source in texts]
    if not states:
        return None
    return new("envoy.extensions.filters.http.set_filter_state.v3.Config", on_request_headers=states)


def _state(key: str, text: str) -> Message:
    """Without `omit_empty_values` an absent value would read `-`."""
    value: dict[str, object] = {"text_format_source": {"inline_string": text}, "omit_empty_values": True}
    if "%CEL(" in text:
        cel = new("envoy.extensions.formatter.cel.v3.Cel", cel_config={"enable_string_functions": True})
        value["formatters"] = [{"name": "envoy.formatter.cel", "typed_config": pack(cel)}]
    return new(_STATE, object_key=key, factory_key="envoy.string", skip_if_empty=True, format_string=value)
