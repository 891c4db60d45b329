"""The messages of the SPIFFE Workload API's X.509 profile, built in code: no generated files, a private pool.

Source: SPIFFE_Workload_API §5, workload.proto (no package)
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


@cache
def message(name: str) -> Any:
    """The class of X509SVIDResponse, X509SVID or X509BundlesResponse."""
    pool = DescriptorPool()
    pool.Add(_file())
    return GetMessageClass(pool.FindMessageTypeByName(name))


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="spiffe_workload.proto", syntax="proto3")
    svid = file.message_type.add(name="X509SVID")
    for number, (name, kind) in enumerate(
        [
            ("spiffe_id", _TEXT),
            ("x509_svid", _BYTES),
            ("x509_svid_key", _BYTES),
            ("bundle", _BYTES),
            ("hint", _TEXT),
        ],
        1,
    ):
        svid.field.add(name=name, number=number, type=kind, label=_ONE)
    response = file.message_type.add(name="X509SVIDResponse")
    response.field.add(name="svids", number=1, type=_MESSAGE, type_name=".X509SVID", label=_MANY)
    response.field.add(name="crl", number=2, type=_BYTES, label=_MANY)
    _map(response, "federated_bundles", 3)
    bundles = file.message_type.add(name="X509BundlesResponse")
    bundles.field.add(name="crl", number=1, type=_BYTES, label=_MANY)
    _map(bundles, "bundles", 2)
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
