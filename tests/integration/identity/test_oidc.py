"""The mesh as an OpenID Connect issuer, to a client that knows nothing of Pylis (PyJWT's)."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from typing import Any

import jwt
import pytest
from click.testing import CliRunner

from controlplane.cli.svid import svid

ID = "spiffe://example.org/ns/shop/sa/orders"
Server = Any


def fetch(url: str, context: ssl.SSLContext) -> Any:
    with urllib.request.urlopen(url, context=context, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/json")
        return json.load(answer)


def test_a_token_is_verified_by_discovery_alone(control_plane: Server) -> None:
    context = ssl.create_default_context(cadata=control_plane.ca_pem)
    document = fetch(f"{control_plane.api}/.well-known/openid-configuration", context)
    assert document["issuer"] == control_plane.api
    arguments = ["mint", "--spiffe-id", ID, "--jwt", "--audience", "vault", "--kubeconfig"]
    done = CliRunner().invoke(svid, [*arguments, str(control_plane.kubeconfig)], catch_exceptions=False)
    token = done.stdout.strip()
    key = jwt.PyJWKClient(document["jwks_uri"], ssl_context=context).get_signing_key_from_jwt(token)
    algorithms = document["id_token_signing_alg_values_supported"]
    claims = jwt.decode(token, key, algorithms=algorithms, audience="vault", issuer=document["issuer"])
    assert claims["sub"] == ID
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms=algorithms, audience="other")


@pytest.mark.spiffe("F-09", "F-10", "F-13", "F-18", "F-19", "F-20", "F-31", "F-32")
def test_the_bundle_is_served_to_anybody(control_plane: Server) -> None:
    context = ssl.create_default_context(cadata=control_plane.ca_pem)
    document = fetch(f"{control_plane.api}/.well-known/spiffe/bundle", context)
    assert {key["use"] for key in document["keys"]} == {"x509-svid", "jwt-svid"}
    assert document["spiffe_sequence"] >= 1
    assert document["spiffe_refresh_hint"] > 0


def test_only_an_administrator_mints(control_plane: Server) -> None:
    context = ssl.create_default_context(cadata=control_plane.ca_pem)
    url = f"{control_plane.api}/pylis/v1/jwt-svids"
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(request, context=context, timeout=10)
    refused.value.close()
