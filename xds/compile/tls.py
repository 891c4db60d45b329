"""TLS between sidecars: 1.3 only, post-quantum hybrid first, certificates from the agent's socket.

Source: envoy.extensions.transport_sockets.tls.v3; X25519MLKEM768 is accepted and negotiated by Envoy 1.40.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from google.protobuf.message import Message

from xds import names
from xds.schema import new, pack

TLS = "envoy.extensions.transport_sockets.tls.v3"
MATCHER = "envoy.type.matcher.v3"
KEY_EXCHANGE: Final = ("X25519MLKEM768", "X25519", "P-256")


def agent_secrets(name: str) -> Message:
    """An SdsSecretConfig for a secret of the agent's socket."""
    return new(
        f"{TLS}.SdsSecretConfig",
        name=name,
        sds_config={
            "resource_api_version": "V3",
            "api_config_source": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": names.AGENT_CLUSTER}}],
            },
        },
    )


def downstream(alpn: Sequence[str]) -> Message:
    """The transport socket of an inbound chain: a peer must present an SVID.

    Of which trust domains is the agent's word: its validation context has a bundle for each that is believed.
    """
    peers = [_uri_matcher("prefix", "spiffe://")]
    context = new(
        f"{TLS}.DownstreamTlsContext",
        require_client_certificate={"value": True},
        common_tls_context=_tls_context(peers, alpn),
        # a resumed session would outlive a change of the bundle
        disable_stateless_session_resumption=True,
        disable_stateful_session_resumption=True,
    )
    return _socket(context)


def upstream(identities: Sequence[str], server_name: str, alpn: Sequence[str]) -> Message:
    """The transport socket towards a service: the peer must be one of `identities` (SPIFFE IDs)."""
    # no identity known: nobody may answer (an empty list would let anybody)
    peers = [_uri_matcher("exact", identity) for identity in identities or ("spiffe://nobody.invalid/none",)]
    context = new(
        f"{TLS}.UpstreamTlsContext",
        sni=server_name,
        common_tls_context=_tls_context(peers, alpn),
        max_session_keys={"value": 0},
    )
    return _socket(context)


def _tls_context(peers: Sequence[Message], alpn: Sequence[str]) -> Message:
    return new(
        f"{TLS}.CommonTlsContext",
        tls_params={
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": list(KEY_EXCHANGE),
        },
        alpn_protocols=list(alpn),
        tls_certificate_sds_secret_configs=[agent_secrets(names.SVID_SECRET)],
        combined_validation_context={
            "default_validation_context": new(
                f"{TLS}.CertificateValidationContext", match_typed_subject_alt_names=list(peers)
            ),
            "validation_context_sds_secret_config": agent_secrets(names.BUNDLE_SECRET),
        },
    )


def _uri_matcher(form: str, value: str) -> Message:
    return new(
        f"{TLS}.SubjectAltNameMatcher",
        san_type="URI",
        matcher=new(f"{MATCHER}.StringMatcher", **{form: value}),
    )


def _socket(context: Message) -> Message:
    return new(
        "envoy.config.core.v3.TransportSocket", name="envoy.transport_sockets.tls", typed_config=pack(context)
    )
