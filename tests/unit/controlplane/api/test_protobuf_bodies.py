"""What kubectl ≥ 1.32 sends is read; any other bytes end in a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.protobuf_bodies import MAGIC, BadProtobufError, decode


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def message(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw)


def test_a_namespace() -> None:
    labels = field(11, field(1, b"a") + field(2, b"b"))
    body = message("v1", "Namespace", field(1, field(1, b"shop") + labels + b"\x38\x01"))
    assert decode(body) == {
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"a": "b"}},
    }  # fmt: skip


def test_a_secret_keeps_bytes_as_base64() -> None:
    raw = field(1, field(1, b"s")) + field(2, field(1, b"k") + field(2, b"\xff\x00")) + field(3, b"Opaque")
    assert decode(message("v1", "Secret", raw))["data"] == {"k": "/wA="}


def test_a_role_and_a_review() -> None:
    rule = field(1, b"get") + field(1, b"list") + field(2, b"g") + field(3, b"things")
    body = decode(message("rbac.authorization.k8s.io/v1", "Role", field(2, rule)))
    assert body["rules"] == [{"verbs": ["get", "list"], "apiGroups": ["g"], "resources": ["things"]}]
    spec = field(2, field(1, field(2, b"create") + field(5, b"things")))
    review = decode(message("authorization.k8s.io/v1", "SelfSubjectAccessReview", spec))
    assert review["spec"]["resourceAttributes"] == {"verb": "create", "resource": "things"}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"k8s", b"{}", MAGIC, MAGIC + b"\x0a\xff", message("v1", "Pod", b""), message("v1", "Namespace", b"\x0a\x7f"),
        message("v1", "Namespace", b"\x0f"), message("v1", "Namespace", field(1, field(1, b"\xff"))),
        message("v1", "Namespace", b"\x08\x01"), message("v1", "Namespace", b"\x80" * 12),
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(BadProtobufError):
        decode(body)


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_value_or_a_refusal(data: bytes) -> None:
    for body in (data, MAGIC + data, message("v1", "Secret", data[:100])):
        try:
            assert isinstance(decode(body), dict)
        except BadProtobufError:
            continue
