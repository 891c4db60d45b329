"""The one table of problem codes: what each `PYL####` says, in one line.

A code is a promise to users: it never changes its meaning and is never used again. 10xx: any resource is
written wrongly; 11xx: a resource does not fit together or will surprise; 12xx: right by Istio, but not
supported by this version (refused, because accepted and not enforced would be worse).
Parsers of other folders take their codes from here too. The reference page of codes is made from `CODES`.
"""

from __future__ import annotations

from typing import Final

WRONG_TYPE: Final = "PYL1001"
UNKNOWN_FIELD: Final = "PYL1002"
MISSING: Final = "PYL1003"
NOT_A_CHOICE: Final = "PYL1004"
DEFINED_TWICE: Final = "PYL1005"
BAD_NAME: Final = "PYL1006"
UNKNOWN_KIND: Final = "PYL1007"
UNREADABLE: Final = "PYL1008"
TOO_MANY: Final = "PYL1009"
EMPTY_LIST: Final = "PYL1010"
EMPTY_TEXT: Final = "PYL1011"
BAD_LABEL: Final = "PYL1012"
BAD_NETWORK: Final = "PYL1013"
BAD_PORT: Final = "PYL1014"
BAD_SERVICE_ACCOUNT: Final = "PYL1015"
EXCLUDE_EACH_OTHER: Final = "PYL1016"
UNKNOWN_ATTRIBUTE: Final = "PYL1017"
NO_VALUES: Final = "PYL1018"
BAD_FORMAT: Final = "PYL1019"
OUT_OF_RANGE: Final = "PYL1020"
NOT_FOUND: Final = "PYL1021"
TOO_LONG: Final = "PYL1022"
RESERVED: Final = "PYL1023"

DENY_WITHOUT_RULES: Final = "PYL1101"
SELECTS_EVERYTHING: Final = "PYL1102"
WIDE_ON_TCP: Final = "PYL1103"
SPIFFE_SCHEME: Final = "PYL1104"
PORTS_WITHOUT_SELECTOR: Final = "PYL1105"

AUDIT: Final = "PYL1201"
CUSTOM: Final = "PYL1202"
REQUEST_PRINCIPALS: Final = "PYL1203"
REMOTE_IP: Final = "PYL1204"
TRUST_DOMAINS: Final = "PYL1205"
TARGET_REFS: Final = "PYL1206"
DRY_RUN: Final = "PYL1207"
PATH_TEMPLATES: Final = "PYL1208"
JWT_CLAIMS: Final = "PYL1209"
REQUEST_AUTHENTICATION: Final = "PYL1210"
INNER_WILDCARD: Final = "PYL1211"
DESTINATION_IP: Final = "PYL1212"
SNI: Final = "PYL1213"
ENVOY_METADATA: Final = "PYL1214"
PSEUDO_HEADER: Final = "PYL1215"

CODES: Final[dict[str, str]] = {
    WRONG_TYPE: "a field has a value of the wrong type",
    UNKNOWN_FIELD: "a field that this kind does not have",
    MISSING: "a required field is missing",
    NOT_A_CHOICE: "the value is none of those the field takes",
    DEFINED_TWICE: "the same name is defined twice",
    BAD_NAME: "a name or namespace that Kubernetes would not take",
    UNKNOWN_KIND: "no such kind or apiVersion",
    UNREADABLE: "the file is not readable as YAML or JSON",
    TOO_MANY: "a list has more entries than allowed",
    EMPTY_LIST: "a list or an entry that must not be empty is empty",
    EMPTY_TEXT: "an empty string in a list of values",
    BAD_LABEL: "a selector label that can never match or is not allowed",
    BAD_NETWORK: "not an IP address and not a CIDR block",
    BAD_PORT: "not a port number",
    BAD_SERVICE_ACCOUNT: "a service account is written <name> or <namespace>/<name>, without wildcards",
    EXCLUDE_EACH_OTHER: "fields that must not be set together",
    UNKNOWN_ATTRIBUTE: "a `when` key that is no attribute",
    NO_VALUES: "a condition without values and notValues",
    BAD_FORMAT: "a value that is not of the form the field asks for",
    OUT_OF_RANGE: "a number outside of its range",
    NOT_FOUND: "something named here does not exist",
    TOO_LONG: "a value is longer than allowed",
    RESERVED: "a name or value that is reserved for Pylis itself",
    DENY_WITHOUT_RULES: "a DENY policy without rules would deny nothing",
    SELECTS_EVERYTHING: "a selector without labels selects every workload (warning)",
    WIDE_ON_TCP: "a DENY rule of HTTP fields only denies everything on TCP ports (warning)",
    SPIFFE_SCHEME: "principals are written without spiffe://, so this one never matches (warning)",
    PORTS_WITHOUT_SELECTOR: "portLevelMtls needs a selector with labels",
    AUDIT: "not supported by this version: action AUDIT",
    CUSTOM: "not supported by this version: action CUSTOM and its provider",
    REQUEST_PRINCIPALS: "not supported by this version: request principals (JWT)",
    REMOTE_IP: "not supported by this version: remote IP addresses (X-Forwarded-For)",
    TRUST_DOMAINS: "not supported by this version: trust domains as a condition",
    TARGET_REFS: "not supported by this version: targetRef and targetRefs",
    DRY_RUN: "not supported by this version: dry-run policies",
    PATH_TEMPLATES: "not supported by this version: path templates ({*} and {**})",
    JWT_CLAIMS: "not supported by this version: JWT claims, audiences and presenter",
    REQUEST_AUTHENTICATION: "not supported by this version: RequestAuthentication",
    INNER_WILDCARD: "not supported by this version: a wildcard inside a namespace",
    DESTINATION_IP: "not supported by this version: destination.ip",
    SNI: "not supported by this version: connection.sni",
    ENVOY_METADATA: "not supported by this version: Envoy filter metadata",
    PSEUDO_HEADER: "not supported by this version: pseudo headers; use hosts, methods and paths",
}


def is_unsupported(code: str) -> bool:
    """True for what Istio has and this version refuses."""
    return code.startswith("PYL12")


def unsupported(code: str) -> str:
    """The message of a 12xx problem."""
    return CODES[code]
