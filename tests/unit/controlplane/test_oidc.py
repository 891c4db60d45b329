from __future__ import annotations

from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain
from controlplane import oidc

BUNDLE = CertificateAuthority.open(TrustDomain.parse("example.org"), MemoryKeystore()).bundle


def test_the_document_leads_to_the_keys() -> None:
    document = oidc.discovery("https://oidc.example.org", BUNDLE)
    assert document["issuer"] == "https://oidc.example.org"
    assert document["jwks_uri"] == "https://oidc.example.org/keys"
    assert document["id_token_signing_alg_values_supported"] == ["ES256"]


def test_the_keys_are_those_of_jwt_svids_alone() -> None:
    (key,) = oidc.keys(BUNDLE)["keys"]
    assert (key["kid"], key["use"], key["alg"]) == (BUNDLE.jwt_authorities[0].kid, "sig", "ES256")
    assert not {"d", "x5c"} & set(key)
