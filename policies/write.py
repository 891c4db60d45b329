"""An AuthorizationPolicy back as the object that is read: the inverse of `authorization_policy.parse`."""

from __future__ import annotations

from policies.attributes import Attribute
from policies.authorization_policy import (
    DRY_RUN,
    OPERATION_FIELDS,
    SOURCE_FIELDS,
    AuthorizationPolicy,
    Match,
    Rule,
)
from policies.document import Json
from policies.program import Action

_SOURCES = {attribute: name for name, attribute in SOURCE_FIELDS.items()}
_OPERATIONS = {attribute: name for name, attribute in OPERATION_FIELDS.items()}

JsonObject = dict[str, Json]


def write(policy: AuthorizationPolicy) -> JsonObject:
    """The whole object, with apiVersion and kind."""
    metadata: JsonObject = {"name": policy.name, "namespace": policy.namespace}
    if policy.dry_run:
        metadata["annotations"] = {DRY_RUN: "true"}
    spec: JsonObject = {}
    if policy.selector:
        spec["selector"] = {"matchLabels": dict(policy.selector)}
    if policy.targets:
        spec["targetRefs"] = [
            {"group": target.group, "kind": target.kind, "name": target.name} for target in policy.targets
        ]
    if policy.action is not Action.ALLOW:
        spec["action"] = str(policy.action)
    if policy.provider:
        spec["provider"] = {"name": policy.provider}
    if policy.rules:
        spec["rules"] = [write_rule(rule) for rule in policy.rules]
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": metadata,
        "spec": spec,
    }


def write_rule(rule: Rule) -> JsonObject:
    found: JsonObject = {}
    if rule.sources:
        found["from"] = [{"source": _lists(source, _SOURCES)} for source in rule.sources]
    if rule.operations:
        found["to"] = [{"operation": _lists(operation, _OPERATIONS)} for operation in rule.operations]
    if rule.when:
        found["when"] = [
            {"key": str(match.key), "notValues" if match.negated else "values": [*match.values]}
            for match in rule.when
        ]
    return found


def _lists(matches: tuple[Match, ...], names: dict[Attribute, str]) -> JsonObject:
    found: JsonObject = {}
    for match in matches:
        name = names[match.key.attribute]
        found[f"not{name[0].upper()}{name[1:]}" if match.negated else name] = [*match.values]
    return found
