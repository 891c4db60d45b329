"""AuthorizationPolicy (security.istio.io/v1): the kind as users write it, checked.

A rule is kept as it is written, every list with its place in the file; what it means is said in `lower`.
What Istio has and this version does not enforce is refused here with a 12xx code: accepted would be a hole.
Source: docs/reference/policy.md (Istio's AuthorizationPolicy and its validation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from policies import codes
from policies.attributes import Attribute, Key, Transport
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, read_metadata
from policies.problem import Origin, Problem
from policies.program import Action
from policies.selector import read_selector
from policies.values import SPIFFE_SCHEME, check_value
from policies.when import BadKey, read_key

SOURCE_FIELDS = {
    "principals": Attribute.PRINCIPAL,
    "namespaces": Attribute.NAMESPACE,
    "serviceAccounts": Attribute.SERVICE_ACCOUNT,
    "ipBlocks": Attribute.SOURCE_IP,
}
OPERATION_FIELDS = {
    "hosts": Attribute.HOST,
    "methods": Attribute.METHOD,
    "paths": Attribute.PATH,
    "ports": Attribute.DESTINATION_PORT,
}
UNSUPPORTED_SOURCE_FIELDS = {
    "requestPrincipals": codes.REQUEST_PRINCIPALS,
    "remoteIpBlocks": codes.REMOTE_IP,
    "trustDomains": codes.TRUST_DOMAINS,
}
UNSUPPORTED_ACTIONS = {"AUDIT": codes.AUDIT, "CUSTOM": codes.CUSTOM}
DRY_RUN = "istio.io/dry-run"
TRUE_WORDS = frozenset({"1", "t", "T", "TRUE", "true", "True"})
FALSE_WORDS = frozenset({"0", "f", "F", "FALSE", "false", "False"})
MAX_RULES = 512
MAX_SERVICE_ACCOUNTS = 16


@dataclass(frozen=True, slots=True)
class Match:
    """One list of a rule as written: `paths: [/a, /b*]`. `values` is never empty."""

    key: Key
    values: tuple[str, ...]
    negated: bool
    path: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Rule:
    """(any of `sources`) and (any of `operations`) and (all of `when`); an empty tuple is no constraint."""

    sources: tuple[tuple[Match, ...], ...] = ()
    operations: tuple[tuple[Match, ...], ...] = ()
    when: tuple[Match, ...] = ()
    origin: Origin = Origin()


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """ALLOW without rules allows nothing; a rule without anything matches everything."""

    namespace: str
    name: str
    action: Action = Action.ALLOW
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    rules: tuple[Rule, ...] = ()
    origin: Origin = Origin()

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse(document: Document) -> tuple[AuthorizationPolicy | None, list[Problem]]:
    """The policy and its warnings, or None and every problem."""
    policy, problems = read(document)
    return (None if any(problem.is_error for problem in problems) else policy), problems


def read(document: Document) -> tuple[AuthorizationPolicy, list[Problem]]:
    """What can be read in spite of problems: only to say which workloads a refused policy is meant for."""
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    _refuse_dry_run(root, metadata.annotations)
    spec = root.child("spec")
    spec.only("selector", "action", "rules", "provider", "targetRef", "targetRefs")
    for name in ("targetRef", "targetRefs"):
        if name in spec:
            spec.add(
                codes.TARGET_REFS, name, codes.unsupported(codes.TARGET_REFS), "use selector.matchLabels"
            )
    selector = read_selector(spec)
    action = _read_action(spec)
    rules = tuple(_read_rules(spec))
    if action is Action.DENY and not spec.value.get("rules"):
        spec.add(
            codes.DENY_WITHOUT_RULES, "rules", "a DENY policy needs rules", "rules: [{}] denies everything"
        )
    if action is Action.DENY:
        _warn_wide_on_tcp(spec, rules)
    return (
        AuthorizationPolicy(metadata.namespace, metadata.name, action, selector, rules, document.origin()),
        root.problems,
    )


def _refuse_dry_run(root: Fields, annotations: Mapping[str, str]) -> None:
    word = annotations.get(DRY_RUN, "false")
    if word in FALSE_WORDS:
        return
    written = root.child("metadata").child("annotations")
    if word in TRUE_WORDS:
        written.add(codes.DRY_RUN, DRY_RUN, codes.unsupported(codes.DRY_RUN))
    else:
        written.add(codes.NOT_A_CHOICE, DRY_RUN, f'"{word}" is neither true nor false')


def _read_action(spec: Fields) -> Action:
    code = UNSUPPORTED_ACTIONS.get(str(spec.value.get("action")))
    if code:
        spec.add(code, "action", codes.unsupported(code), "ALLOW and DENY are enforced")
        return Action.ALLOW
    if "provider" in spec:
        spec.add(codes.EXCLUDE_EACH_OTHER, "provider", "only goes with action CUSTOM", "remove it")
    return spec.choice("action", Action.ALLOW)


def _read_rules(spec: Fields) -> Iterable[Rule]:
    rules = list(spec.children("rules"))
    if len(rules) > MAX_RULES:
        spec.add(codes.TOO_MANY, "rules", f"{len(rules)} rules, at most {MAX_RULES}", "split the policy")
    for rule in rules:
        rule.only("from", "to", "when")
        yield Rule(
            tuple(_read_source(entry) for entry in _entries(rule, "from", "source")),
            tuple(_read_operation(entry) for entry in _entries(rule, "to", "operation")),
            tuple(match for entry in rule.children("when") for match in _read_condition(entry)),
            rule.document.origin(rule.path),
        )


def _entries(rule: Fields, name: str, inner: str) -> Iterable[Fields]:
    """The `source` or `operation` objects of a rule's `from` or `to`."""
    entries = list(rule.children(name))
    if rule.value.get(name) == []:
        rule.add(codes.EMPTY_LIST, name, "is empty", f'remove "{name}" for "any", or write an entry')
    if len(entries) > MAX_RULES:
        rule.add(codes.TOO_MANY, name, f"{len(entries)} entries, at most {MAX_RULES}")
    for entry in entries:
        entry.only(inner)
        found = entry.child(inner, required=True)
        if isinstance(entry.value.get(inner), dict):
            yield found


def _read_source(source: Fields) -> tuple[Match, ...]:
    unsupported = {**UNSUPPORTED_SOURCE_FIELDS, **{_not(n): c for n, c in UNSUPPORTED_SOURCE_FIELDS.items()}}
    for name, code in unsupported.items():
        if name in source:
            source.add(code, name, codes.unsupported(code))
    matches = _read_lists(source, SOURCE_FIELDS, tuple(unsupported))
    written = {match.key.attribute for match in matches}
    if Attribute.SERVICE_ACCOUNT in written and written & {Attribute.PRINCIPAL, Attribute.NAMESPACE}:
        source.add(
            codes.EXCLUDE_EACH_OTHER,
            "",
            "serviceAccounts cannot stand with principals or namespaces",
            "write them as two from entries",
        )
    return matches


def _read_operation(operation: Fields) -> tuple[Match, ...]:
    return _read_lists(operation, OPERATION_FIELDS, ())


def _read_lists(entry: Fields, table: Mapping[str, Attribute], refused: tuple[str, ...]) -> tuple[Match, ...]:
    names = {**{name: (attribute, False) for name, attribute in table.items()}}
    names |= {_not(name): (attribute, True) for name, attribute in table.items()}
    entry.only(*names, *refused)
    if all(value == [] for value in entry.value.values()):
        entry.add(codes.EMPTY_LIST, "", "has no field", f"known here: {', '.join(table)} and their not forms")
    found = (_read_list(entry, name, Key(attribute), negated) for name, (attribute, negated) in names.items())
    return tuple(match for match in found if match is not None)


def _read_condition(condition: Fields) -> Iterable[Match]:
    condition.only("key", "values", "notValues")
    key = read_key(condition.text("key", required=True))
    if not condition.value.get("key"):
        return
    if isinstance(key, BadKey):
        condition.add(key.code, "key", key.message, key.hint)
        return
    matches = [_read_list(condition, "values", key, False), _read_list(condition, "notValues", key, True)]
    if not any(condition.value.get(name) for name in ("values", "notValues")):
        condition.add(codes.NO_VALUES, "", "has neither values nor notValues", "write at least one of them")
    yield from (match for match in matches if match is not None)


def _read_list(entry: Fields, name: str, key: Key, negated: bool) -> Match | None:
    values = entry.texts(name)
    if key.attribute is Attribute.SERVICE_ACCOUNT and len(values) > MAX_SERVICE_ACCOUNTS:
        entry.add(codes.TOO_MANY, name, f"{len(values)} values, at most {MAX_SERVICE_ACCOUNTS}")
    for index, value in enumerate(values):
        bad = check_value(key, value)
        if bad is not None:
            entry.add(bad.code, f"{name}[{index}]", bad.message, bad.hint)
        if key.attribute is Attribute.PRINCIPAL and value.startswith(SPIFFE_SCHEME):
            entry.warn(
                codes.SPIFFE_SCHEME, f"{name}[{index}]", "never matches", f'leave out "{SPIFFE_SCHEME}"'
            )
    if not values:
        return None
    path = f"{entry.path}.{name}"
    return Match(key, values, negated, path, entry.document.origin(path))


def _warn_wide_on_tcp(spec: Fields, rules: tuple[Rule, ...]) -> None:
    for index, rule in enumerate(rules):
        matches = [*(m for group in (*rule.sources, *rule.operations) for m in group), *rule.when]
        if matches and all(match.key.row.transport is Transport.HTTP_ONLY for match in matches):
            message = "only HTTP fields: on TCP ports this rule denies everything"
            spec.warn(
                codes.WIDE_ON_TCP, f"rules[{index}]", message, "name the HTTP ports in to.operation.ports"
            )


def _not(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"
