"""The one table of problem codes: what each `PYL####` says, in one line.

A code is a promise to users: it never changes its meaning and is never used again. 10xx: any resource is
written wrongly; 11xx: a resource does not fit together or will surprise; 12xx: right by Istio, but not
supported by this version (refused, because accepted and not enforced would be worse). 1201 to 1214 were of
constructs that are enforced now.
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
BAD_TRUST_DOMAIN: Final = "PYL1024"
BAD_TEMPLATE: Final = "PYL1025"
BAD_JWKS: Final = "PYL1026"

DENY_WITHOUT_RULES: Final = "PYL1101"
SELECTS_EVERYTHING: Final = "PYL1102"
WIDE_ON_TCP: Final = "PYL1103"
SPIFFE_SCHEME: Final = "PYL1104"
PORTS_WITHOUT_SELECTOR: Final = "PYL1105"
CUSTOM_WITHOUT_RULES: Final = "PYL1106"
NOT_IN_CUSTOM: Final = "PYL1107"
DRY_RUN_MISUSE: Final = "PYL1108"
BAD_TARGET: Final = "PYL1109"
TARGETS_NO_SIDECAR: Final = "PYL1110"
PRIVATE_KEY: Final = "PYL1111"
NO_SUCH_PROVIDER: Final = "PYL1112"
NARROWS_ONLY: Final = "PYL1113"

PSEUDO_HEADER: Final = "PYL1215"
NOT_BUILT: Final = "PYL1216"

SHADOWED: Final = "PYL1301"
REDUNDANT: Final = "PYL1302"
VACUOUS: Final = "PYL1303"
SELECTS_NOTHING: Final = "PYL1304"
UNKNOWN_PRINCIPAL: Final = "PYL1305"
UNKNOWN_NAMESPACE: Final = "PYL1306"
UNKNOWN_HOST: Final = "PYL1307"
UNKNOWN_PORT: Final = "PYL1308"
NEEDS_MTLS: Final = "PYL1309"
HTTP_ON_TCP: Final = "PYL1310"
NOT_PATHS_IN_ALLOW: Final = "PYL1311"
ANY_PRINCIPAL: Final = "PYL1312"
NO_POLICY: Final = "PYL1313"
NOT_NORMALISED: Final = "PYL1314"
PATH_NEVER_SENT: Final = "PYL1315"
COSTLY: Final = "PYL1316"
NEVER_MATCHES: Final = "PYL1317"
REPEATED: Final = "PYL1318"
NO_TOKENS: Final = "PYL1319"

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
    BAD_TRUST_DOMAIN: "a trust domain is exact or has one * at an end, and no slash",
    BAD_TEMPLATE: "a path template with anything but {*} and {**} in segments of their own",
    BAD_JWKS: "not a JSON Web Key Set",
    DENY_WITHOUT_RULES: "a DENY policy without rules would deny nothing",
    SELECTS_EVERYTHING: "a selector without labels selects every workload (warning)",
    WIDE_ON_TCP: "a DENY rule of HTTP fields only denies everything on TCP ports (warning)",
    SPIFFE_SCHEME: "principals are written without spiffe://, so this one never matches (warning)",
    PORTS_WITHOUT_SELECTOR: "portLevelMtls needs a selector with labels",
    CUSTOM_WITHOUT_RULES: "a CUSTOM policy without rules would ask nobody",
    NOT_IN_CUSTOM: "a CUSTOM rule is asked before tokens are checked and cannot look at identities",
    DRY_RUN_MISUSE: "only ALLOW and DENY policies can be tried without being enforced",
    BAD_TARGET: "a targetRef that a policy cannot have",
    TARGETS_NO_SIDECAR: "a policy with targetRefs is for gateways and waypoints; sidecars pass over it (warning)",
    PRIVATE_KEY: "a JWKS that holds a private key (warning)",
    NO_SUCH_PROVIDER: "an extension provider that the mesh settings do not declare",
    NARROWS_ONLY: "a Sidecar narrows what a sidecar may reach and never opens anything (warning)",
    PSEUDO_HEADER: "not supported by this version: pseudo headers other than :authority, :method and :path",
    NOT_BUILT: "not supported by this version: a field that no sidecar here would follow",
    SHADOWED: "lint: an ALLOW rule that never allows: DENY rules match all of its requests",
    REDUNDANT: "lint: a rule that decides nothing: other rules match all of its requests",
    VACUOUS: "lint: a rule that matches no request: its conditions exclude each other",
    SELECTS_NOTHING: "lint: a selector or namespace that has no workload",
    UNKNOWN_PRINCIPAL: "lint: an identity that no workload and no registration has",
    UNKNOWN_NAMESPACE: "lint: a namespace in which nobody calls",
    UNKNOWN_HOST: "lint: a host that no service has",
    UNKNOWN_PORT: "lint: a port that none of the selected workloads serves",
    NEEDS_MTLS: "lint: a condition on the caller's identity at a port that takes plaintext: absent there",
    HTTP_ON_TCP: "lint: HTTP fields on a TCP port: ALLOW rules are dropped there, others widen",
    NOT_PATHS_IN_ALLOW: "lint: notPaths in an ALLOW rule: every path that was not thought of is allowed",
    ANY_PRINCIPAL: "lint: a wildcard that allows every identity that the mesh knows or will know",
    NO_POLICY: "lint: a workload that no AuthorizationPolicy selects: everybody may call it",
    NOT_NORMALISED: "lint: rules on paths in a mesh that does not normalise paths as servers do",
    PATH_NEVER_SENT: "lint: a path that no normalised request has",
    COSTLY: "lint: a form that Envoy must try one by one: suffix, wildcard inside, template or a not form",
    NEVER_MATCHES: "lint: a value that is written like a pattern and matches nobody",
    REPEATED: "lint: a value that another value of its list covers",
    NO_TOKENS: "lint: a condition on a token where no RequestAuthentication checks tokens",
}


def is_unsupported(code: str) -> bool:
    """True for what Istio has and this version refuses."""
    return code.startswith("PYL12")


def unsupported(code: str) -> str:
    """The message of a 12xx problem."""
    return CODES[code]
