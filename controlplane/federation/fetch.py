"""A bundle from its endpoint, over https, in both profiles (an edge: it blocks, so it runs in a thread).

    https_web      the endpoint's certificate is one of the web's, and names its host
    https_spiffe   it is an X.509-SVID with the configured SPIFFE ID, under the bundle of that ID's trust domain

Redirects are followed, checked like the first address, and forgotten. Nothing is sent but the request.
Source: SPIFFE_Federation §5.2
"""

from __future__ import annotations

import asyncio
import http.client
import ssl
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urljoin, urlsplit

from cryptography import x509

from ca import bundle as bundles
from ca import check
from ca.bundle import MAX_BYTES, TrustBundle
from ca.errors import BundleError, SpiffeIdError
from ca.spiffe_id import SpiffeId, TrustDomain
from ca.verify import validity_problems
from controlplane.resources.federated_trust_domain import url_problem

TIMEOUT_SECONDS: Final = 10
MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)


class FetchError(Exception):
    """No bundle came; the text says why."""


async def fetch_web(url: str, trust_domain: TrustDomain) -> TrustBundle:
    """Raises: FetchError."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return await asyncio.to_thread(_fetch, url, trust_domain, context, None)


async def fetch_spiffe(
    url: str, trust_domain: TrustDomain, endpoint: SpiffeId, vouching: TrustBundle
) -> TrustBundle:
    """`vouching`: the bundle of the endpoint's trust domain. Raises: FetchError."""
    if not vouching.x509_authorities:
        raise FetchError(f"the bundle of {vouching.trust_domain} is empty: nothing of it is believed")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False  # the SPIFFE ID is checked instead
    context.load_verify_locations(cadata=vouching.to_pem())
    return await asyncio.to_thread(_fetch, url, trust_domain, context, endpoint)


def _fetch(
    url: str, trust_domain: TrustDomain, context: ssl.SSLContext, endpoint: SpiffeId | None
) -> TrustBundle:
    for _ in range(MAX_REDIRECTS + 1):
        if problem := url_problem(url):
            raise FetchError(f"{url} {problem}")
        status, location, body = _get(url, context, endpoint)
        if status in _REDIRECTS and location:
            url = urljoin(url, location)
            continue
        if status != 200:
            raise FetchError(f"{url} answers with status {status}")
        try:
            return bundles.from_spiffe(trust_domain, body)
        except BundleError as error:
            raise FetchError(f"{url} serves no trust bundle: {error}") from error
    raise FetchError(f"more than {MAX_REDIRECTS} redirects")


def _get(url: str, context: ssl.SSLContext, endpoint: SpiffeId | None) -> tuple[int, str, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, context=context, timeout=TIMEOUT_SECONDS
    )
    try:
        connection.connect()
        if endpoint is not None:
            _check_endpoint(connection, endpoint)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(MAX_BYTES + 1)
        return answer.status, answer.getheader("Location", ""), body
    except ssl.SSLError as error:
        raise FetchError(f"{parts.netloc} could not prove who it is: {error.reason or error}") from error
    except OSError as error:
        raise FetchError(f"cannot reach {parts.netloc}: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{parts.netloc} does not answer as HTTP does") from error
    finally:
        connection.close()


def _check_endpoint(connection: http.client.HTTPSConnection, endpoint: SpiffeId) -> None:
    """TLS has verified the path; here the leaf has to be an X.509-SVID, and that one."""
    der: bytes | None = connection.sock.getpeercert(binary_form=True)
    try:
        leaf = x509.load_der_x509_certificate(der or b"")
        problems = check.leaf_problems(leaf) + validity_problems(leaf, "leaf", datetime.now(UTC))
        found = check.spiffe_id(leaf)
    except (SpiffeIdError, *check.UNREADABLE) as error:
        raise FetchError(f"the endpoint's certificate is no X.509-SVID: {error}") from error
    if problems:
        raise FetchError("the endpoint's certificate is no X.509-SVID: " + "; ".join(problems))
    if found != endpoint:
        raise FetchError(f"the endpoint is {found}, not {endpoint}")
