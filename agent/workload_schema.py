"""The messages of the SPIFFE Workload API (X.509 and JWT profiles), built in code: no generated files, a private pool.

Source: SPIFFE_Workload_API §5, §6, workload.proto (no package)
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE: Final = "/SpiffeWorkloadAPI/"
_TEXT, _BYTES, _MESSAGE = (
    FieldDescriptorProto.TYPE_STRING,
    FieldDescriptorProto.TYPE_BYTES,
    FieldDescriptorProto.TYPE_MESSAGE,
)
_ONE, _MANY = FieldDescriptorProto.LABEL_OPTIONAL, FieldDescriptorProto.LABEL_REPEATED
# message → fields in the order of their numbers, from 1: (name, type) or (name, "map"), or (name, message of many)
_FIELDS: Final[dict[str, list[tuple[str, Any]]]] = {
    "X509SVID": [
        ("spiffe_id", _TEXT), ("x509_svid", _BYTES), ("x509_svid_key", _BYTES), ("bundle", _BYTES), ("hint", _TEXT),
    ],
    "X509SVIDResponse": [("svids", "X509SVID"), ("crl", [_BYTES]), ("federated_bundles", {})],
    "X509BundlesResponse": [("crl", [_BYTES]), ("bundles", {})],
    "JWTSVIDRequest": [("audience", [_TEXT]), ("spiffe_id", _TEXT)],
    "JWTSVID": [("spiffe_id", _TEXT), ("svid", _TEXT), ("hint", _TEXT)],
    "JWTSVIDResponse": [("svids", "JWTSVID")],
    "JWTBundlesResponse": [("bundles", {})],
    "ValidateJWTSVIDRequest": [("audience", _TEXT), ("svid", _TEXT)],
    "ValidateJWTSVIDResponse": [("spiffe_id", _TEXT), ("claims", _BYTES)],  # claims: a google.protobuf.Struct
}  # fmt: skip
# name, request, response, whether answers go on
METHODS: Final = (
    ("FetchX509SVID", "X509SVIDRequest", "X509SVIDResponse", True),
    ("FetchX509Bundles", "X509BundlesRequest", "X509BundlesResponse", True),
    ("FetchJWTSVID", "JWTSVIDRequest", "JWTSVIDResponse", False),
    ("FetchJWTBundles", "JWTBundlesRequest", "JWTBundlesResponse", True),
    ("ValidateJWTSVID", "ValidateJWTSVIDRequest", "ValidateJWTSVIDResponse", False),
)


@cache
def message(name: str) -> Any:
    """The class of one of the messages above."""
    pool = DescriptorPool()
    pool.Add(_file())
    return GetMessageClass(pool.FindMessageTypeByName(name))


def service_file() -> FileDescriptorProto:
    """As people read it: with the service, the empty requests, and claims by their type."""
    file = _file()
    file.dependency.append("google/protobuf/struct.proto")
    (answer,) = [one for one in file.message_type if one.name == "ValidateJWTSVIDResponse"]
    answer.field[1].type, answer.field[1].type_name = _MESSAGE, ".google.protobuf.Struct"
    service = file.service.add(name=SERVICE.strip("/"))
    for method, request, response, is_stream in METHODS:
        if request not in _FIELDS:
            file.message_type.add(name=request)
        service.method.add(
            name=method,
            input_type=f".{request}",
            output_type=f".{response}",
            server_streaming=is_stream,
        )
    return file


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="spiffe_workload.proto", syntax="proto3")
    for name, fields in _FIELDS.items():
        owner = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            match kind:
                case str():
                    owner.field.add(
                        name=field, number=number, type=_MESSAGE, type_name=f".{kind}", label=_MANY
                    )
                case [one]:
                    owner.field.add(name=field, number=number, type=one, label=_MANY)
                case {}:
                    _map(owner, field, number)
                case _:
                    owner.field.add(name=field, number=number, type=kind, label=_ONE)
    return file


def _map(owner: DescriptorProto, name: str, number: int) -> None:
    """map<string, bytes>"""
    entry = owner.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_TEXT, label=_ONE)
    entry.field.add(name="value", number=2, type=_BYTES, label=_ONE)
    owner.field.add(
        name=name, number=number, type=_MESSAGE, type_name=f".{owner.name}.{entry.name}", label=_MANY
    )
