"""Our messages are the published ones: what we encode, py-spiffe's generated classes read, and the other way."""

from __future__ import annotations

from typing import Any

from spiffe._proto import workload_pb2

from agent.workload_schema import message


def test_an_answer_with_svids_is_read_as_it_was_meant() -> None:
    ours = message("X509SVIDResponse")()
    ours.svids.add(spiffe_id="spiffe://td/a", x509_svid=b"c", x509_svid_key=b"k", bundle=b"b", hint="h")
    ours.crl.append(b"crl")
    ours.federated_bundles["spiffe://other"] = b"o"
    theirs: Any = workload_pb2.X509SVIDResponse.FromString(ours.SerializeToString())
    (svid,) = theirs.svids
    assert (svid.spiffe_id, svid.x509_svid, svid.x509_svid_key) == ("spiffe://td/a", b"c", b"k")
    assert (svid.bundle, svid.hint, list(theirs.crl)) == (b"b", "h", [b"crl"])
    assert dict(theirs.federated_bundles) == {"spiffe://other": b"o"}


def test_an_answer_with_bundles_is_read_as_it_was_meant() -> None:
    theirs = workload_pb2.X509BundlesResponse(bundles={"spiffe://td": b"b"}, crl=[b"crl"])
    ours = message("X509BundlesResponse").FromString(theirs.SerializeToString())
    assert (dict(ours.bundles), list(ours.crl)) == ({"spiffe://td": b"b"}, [b"crl"])
