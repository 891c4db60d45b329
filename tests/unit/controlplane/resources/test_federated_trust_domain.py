"""Source: SPIFFE_Federation §5 (requirements F-11, F-13, F-14, F-26 to F-29)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ca.keystore import MemoryKeystore
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain
from controlplane.resources.federated_trust_domain import FederatedTrustDomain, Profile, parse
from policies.document import Document

BUNDLE = json.dumps(
    CertificateAuthority.open(TrustDomain.parse("partner.org"), MemoryKeystore()).bundle.to_spiffe()
)
WEB = {"type": "https_web"}
SPIFFE = {"type": "https_spiffe", "endpointSPIFFEID": "spiffe://partner.org/pylis/server"}


def parsed(**spec: Any) -> tuple[FederatedTrustDomain | None, str]:
    spec = {"trustDomain": "partner.org", **spec}
    document = {
        "apiVersion": "pylis.io/v1alpha1",
        "kind": "FederatedTrustDomain",
        "metadata": {"name": "partner"},
        "spec": {name: value for name, value in spec.items() if value is not None},
    }
    found, problems = parse(Document(document))
    return found, "; ".join(map(str, problems))


@pytest.mark.spiffe("F-08", "F-11", "F-23", "F-27", "F-36")
def test_both_profiles() -> None:
    web, _ = parsed(bundleEndpointURL="https://partner.org/bundle", bundleEndpointProfile=WEB)
    assert web is not None
    assert (web.profile, web.endpoint_id, web.is_self_serving) == (Profile.HTTPS_WEB, None, False)
    spiffe, problems = parsed(
        bundleEndpointURL="https://10.0.0.1:8443/b", bundleEndpointProfile=SPIFFE, trustDomainBundle=BUNDLE
    )
    assert spiffe is not None, problems
    assert (spiffe.profile, spiffe.is_self_serving) == (Profile.HTTPS_SPIFFE, True)
    assert spiffe.bundle is not None
    assert spiffe.bundle.trust_domain.name == "partner.org"


@pytest.mark.spiffe("F-28")
def test_one_that_vouches_for_itself_needs_a_first_bundle() -> None:
    _, problems = parsed(bundleEndpointURL="https://partner.org", bundleEndpointProfile=SPIFFE)
    assert "trustDomainBundle" in problems


@pytest.mark.spiffe("F-29")
def test_an_endpoint_of_another_trust_domain_does_not() -> None:
    other = {**SPIFFE, "endpointSPIFFEID": "spiffe://registry.org/bundles"}
    found, problems = parsed(bundleEndpointURL="https://registry.org", bundleEndpointProfile=other)
    assert found is not None, problems
    assert not found.is_self_serving


def test_a_bundle_alone_is_enough() -> None:
    found, _ = parsed(trustDomainBundle=BUNDLE)
    assert found is not None
    assert found.url == ""


@pytest.mark.spiffe("F-13", "F-14", "F-26")
@pytest.mark.parametrize(
    "url",
    ["http://partner.org", "partner.org", "https://user@partner.org", "https://u:p@partner.org", "https://",
     "https://partner.org:x", "https://partner.org:0", "https://é.org", "file:///etc/passwd", "https://a b", "https://[::1"],
)  # fmt: skip
def test_urls_that_no_bundle_comes_from(url: str) -> None:
    found, problems = parsed(bundleEndpointURL=url, bundleEndpointProfile=WEB)
    assert found is None
    assert "bundleEndpointURL" in problems


@pytest.mark.parametrize(
    ("spec", "field"),
    [({"trustDomain": "Partner"}, "trustDomain"), ({"trustDomain": None, "trustDomainBundle": BUNDLE}, "trustDomain"),
     ({}, "bundleEndpointURL"), ({"trustDomainBundle": "{}"}, "trustDomainBundle"),
     ({"bundleEndpointURL": "https://p.org"}, "type"),
     ({"bundleEndpointURL": "https://p.org", "bundleEndpointProfile": {"type": "http"}}, "type"),
     ({"bundleEndpointURL": "https://p.org", "bundleEndpointProfile": {**WEB, "endpointSPIFFEID": "spiffe://a/b"}},
      "endpointSPIFFEID"),
     ({"bundleEndpointURL": "https://p.org", "bundleEndpointProfile": {"type": "https_spiffe"}}, "endpointSPIFFEID"),
     ({"trustDomainBundle": BUNDLE, "caFile": "x"}, "caFile")],
)  # fmt: skip
def test_what_is_missing_or_wrong_is_told_by_field(spec: dict[str, Any], field: str) -> None:
    found, problems = parsed(**spec)
    assert found is None
    assert field in problems
