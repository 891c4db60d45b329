"""FederatedTrustDomain: a foreign trust domain, and where its bundle comes from. It belongs to the whole mesh.

The fields are those of SPIRE's ClusterFederatedTrustDomain.
Source: SPIFFE_Federation §5 (endpoint parameters)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from ca import bundle as bundles
from ca.bundle import TrustBundle
from ca.errors import BundleError, SpiffeIdError
from ca.spiffe_id import SpiffeId, TrustDomain
from policies import codes
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, is_subdomain
from policies.problem import Problem


class Profile(StrEnum):
    HTTPS_WEB = "https_web"
    HTTPS_SPIFFE = "https_spiffe"


@dataclass(frozen=True, slots=True)
class FederatedTrustDomain:
    """`url` "": the bundle is given and never fetched. `endpoint_id`: https_spiffe only."""

    name: str
    trust_domain: TrustDomain
    url: str
    profile: Profile
    endpoint_id: SpiffeId | None
    bundle: TrustBundle | None

    @property
    def is_self_serving(self) -> bool:
        """Does the bundle vouch for the very endpoint it comes from?"""
        return self.endpoint_id is not None and self.endpoint_id.trust_domain == self.trust_domain


def parse(document: Document) -> tuple[FederatedTrustDomain | None, list[Problem]]:
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = root.child("metadata", required=True)
    name = metadata.text("name", required=True)
    if name and not is_subdomain(name):
        hint = "lower case letters, digits, - and . only"
        metadata.add(codes.BAD_NAME, "name", f'"{name}" is no name', hint)
    if "namespace" in metadata:
        metadata.add(codes.UNKNOWN_FIELD, "namespace", "this kind has no namespace", "remove it")
    spec = root.child("spec", required=True)
    spec.only("trustDomain", "bundleEndpointURL", "bundleEndpointProfile", "trustDomainBundle")
    domain = _domain(spec)
    url = _url(spec)
    profile, endpoint = _profile(spec.child("bundleEndpointProfile"), needed=bool(url))
    bundle = _bundle(spec, domain)
    if not spec.failed:
        found = FederatedTrustDomain(name, domain, url, profile, endpoint, bundle)
        _check(spec, found)
        return (None if root.failed else found), root.problems
    return None, root.problems


def _check(spec: Fields, found: FederatedTrustDomain) -> None:
    if not found.url and found.bundle is None:
        text = "neither an endpoint nor a bundle is given"
        spec.add(codes.MISSING, "bundleEndpointURL", text, "give one, or trustDomainBundle")
    elif found.url and found.is_self_serving and found.bundle is None:
        text = "the first bundle of an endpoint that vouches for itself has to be given"
        hint = "the SPIFFE bundle document: pylis bundle show --format spiffe, over there"
        spec.add(codes.MISSING, "trustDomainBundle", text, hint)


def _domain(spec: Fields) -> TrustDomain:
    text = spec.text("trustDomain", required=True)
    try:
        return TrustDomain.parse(text or "missing")
    except SpiffeIdError as error:
        spec.add(codes.BAD_FORMAT, "trustDomain", f'"{text}" is no trust domain: {error}')
        return TrustDomain("missing")


def _url(spec: Fields) -> str:
    text = spec.text("bundleEndpointURL")
    if text and (wrong := url_problem(text)):
        spec.add(codes.BAD_FORMAT, "bundleEndpointURL", f'"{text}" {wrong}')
    return text


def url_problem(text: str) -> str:
    """Why no bundle may be fetched there; "" when one may. Source: SPIFFE_Federation §5.2.1.1, §5.2.2.1."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme != "https":
        return "is not https"
    if parts.username is not None or parts.password is not None:
        return "holds a user's name"
    if not parts.hostname or not text.isascii() or not text.isprintable() or " " in text or port == 0:
        return "names no host that could be asked"
    return ""


def _profile(profile: Fields, *, needed: bool) -> tuple[Profile, SpiffeId | None]:
    profile.only("type", "endpointSPIFFEID")
    kind = profile.choice("type", Profile.HTTPS_WEB)
    text = profile.text("endpointSPIFFEID")
    if needed and "type" not in profile:
        profile.add(codes.MISSING, "type", "how the endpoint proves who it is", "https_web or https_spiffe")
    if kind is Profile.HTTPS_WEB:
        if text:
            profile.add(codes.EXCLUDE_EACH_OTHER, "endpointSPIFFEID", "https_web has none", "remove it")
        return kind, None
    try:
        return kind, SpiffeId.parse(text)
    except SpiffeIdError as error:
        profile.add(codes.BAD_FORMAT, "endpointSPIFFEID", f'"{text}" is no SPIFFE ID: {error}')
        return kind, None


def _bundle(spec: Fields, domain: TrustDomain) -> TrustBundle | None:
    text = spec.text("trustDomainBundle")
    if not text:
        return None
    try:
        return bundles.from_spiffe(domain, text)
    except BundleError as error:
        hint = "a SPIFFE bundle document, as text"
        spec.add(codes.BAD_FORMAT, "trustDomainBundle", f"is no trust bundle: {error}", hint)
        return None
