"""AuthorizationPolicy (security.istio.io/v1): the kind as users write it, checked.

A rule is kept as it is written, every list with its place in the file; what it means is said in `lower`.
`read` goes on after problems and marks the rules that have one as broken, so that a policy that can no longer
be accepted is still enforced on the safe side. Source: docs/reference/policy.md (Istio's AuthorizationPolicy
and its validation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from policies import codes
from policies.attributes import Attribute, Key, Transport
from policies.document import Document
from policies.fields import TOP_LEVEL, Fields, read_metadata
from policies.problem import Origin, Problem
from policies.program import Action
from policies.selector import read_selector
from policies.target_ref import TargetRef, read_target_refs
from policies.values import SPIFFE_SCHEME, check_value
from policies.when import BadKey, read_key

SOURCE_FIELDS = {
    "principals": Attribute.PRINCIPAL,
    "requestPrincipals": Attribute.REQUEST_PRINCIPAL,
    "namespaces": Attribute.NAMESPACE,
    "serviceAccounts": Attribute.SERVICE_ACCOUNT,
    "trustDomains": Attribute.TRUST_DOMAIN,
    "ipBlocks": Attribute.SOURCE_IP,
    "remoteIpBlocks": Attribute.REMOTE_IP,
}
OPERATION_FIELDS = {
    "hosts": Attribute.HOST,
    "methods": Attribute.METHOD,
    "paths": Attribute.PATH,
    "ports": Attribute.DESTINATION_PORT,
}
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
    """(any of `sources`) and (any of `operations`) and (all of `when`); an empty tuple is no constraint.

    `broken`: something in it could not be read and is left out.
    """

    sources: tuple[tuple[Match, ...], ...] = ()
    operations: tuple[tuple[Match, ...], ...] = ()
    when: tuple[Match, ...] = ()
    origin: Origin = Origin()
    broken: bool = False

    @property
    def matches(self) -> tuple[Match, ...]:
        """Every list of the rule."""
        return (*(m for group in (*self.sources, *self.operations) for m in group), *self.when)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class AuthorizationPolicy:
    """ALLOW without rules allows nothing; a rule without anything matches everything."""

    namespace: str
    name: str
    action: Action = Action.ALLOW
    selector: Mapping[str, str] = field(default_factory=dict[str, str])
    rules: tuple[Rule, ...] = ()
    origin: Origin = Origin()
    provider: str = ""  # of CUSTOM only
    dry_run: bool = False
    targets: tuple[TargetRef, ...] = ()

    @property
    def full_name(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse(document: Document) -> tuple[AuthorizationPolicy | None, list[Problem]]:
    """The policy and its warnings, or None and every problem."""
    policy, problems = read(document)
    return (None if any(problem.is_error for problem in problems) else policy), problems


def salvage(document: Document) -> AuthorizationPolicy:
    """What is left of a policy that was accepted once and is refused now, on the safe side.

    ALLOW rules that are broken allow nothing, others lose what cannot be read and match more. Where something
    outside of the rules is wrong, all rules count as broken; a DENY without readable rules denies everything.
    """
    policy, problems = read(document)
    errors = [problem for problem in problems if problem.is_error]
    if any(not problem.path.startswith("spec.rules[") for problem in errors):
        policy = replace(policy, rules=tuple(replace(rule, broken=True) for rule in policy.rules))
    if errors and not policy.rules and policy.action is not Action.ALLOW:
        policy = replace(policy, rules=(Rule(origin=policy.origin, broken=True),))
    return policy


def read(document: Document) -> tuple[AuthorizationPolicy, list[Problem]]:
    """What can be read in spite of problems, and the problems."""
    root = Fields.of(document)
    root.only(*TOP_LEVEL)
    metadata = read_metadata(root)
    spec = root.child("spec")
    spec.only("selector", "action", "rules", "provider", "targetRef", "targetRefs")
    selector = read_selector(spec)
    targets = read_target_refs(spec, selector)
    action = spec.choice("action", Action.ALLOW)
    policy = AuthorizationPolicy(
        metadata.namespace,
        metadata.name,
        action,
        selector,
        tuple(_read_rules(spec)),
        document.origin(),
        _read_provider(spec, action),
        read_dry_run(root, metadata.annotations, allowed=action in (Action.ALLOW, Action.DENY)),
        targets,
    )
    _check_action(spec, policy)
    return policy, root.problems


def _check_action(spec: Fields, policy: AuthorizationPolicy) -> None:
    empty = not spec.value.get("rules")
    if policy.action is Action.DENY and empty:
        spec.add(
            codes.DENY_WITHOUT_RULES, "rules", "a DENY policy needs rules", "rules: [{}] denies everything"
        )
    if policy.action is Action.CUSTOM and empty:
        spec.add(
            codes.CUSTOM_WITHOUT_RULES, "rules", "a CUSTOM policy needs rules", "rules: [{}] asks about all"
        )
    if policy.action is Action.DENY:
        _warn_wide_on_tcp(spec, policy.rules)
    if policy.action is Action.CUSTOM:
        _refuse_identities(spec, policy.rules)


def read_dry_run(root: Fields, annotations: Mapping[str, str], *, allowed: bool) -> bool:
    """The annotation `istio.io/dry-run`; a problem where the kind or action cannot be tried."""
    if DRY_RUN not in annotations:
        return False
    word = annotations[DRY_RUN]
    written = root.child("metadata").child("annotations")
    if word not in TRUE_WORDS | FALSE_WORDS:
        written.add(codes.NOT_A_CHOICE, DRY_RUN, f'"{word}" is neither true nor false')
    elif not allowed:
        written.add(codes.DRY_RUN_MISUSE, DRY_RUN, "only an ALLOW or DENY AuthorizationPolicy has it")
    return word in TRUE_WORDS


def _read_provider(spec: Fields, action: Action) -> str:
    if action is not Action.CUSTOM:
        if "provider" in spec:
            spec.add(codes.EXCLUDE_EACH_OTHER, "provider", "only goes with action CUSTOM", "remove it")
        return ""
    provider = spec.child("provider")
    provider.only("name")
    if "provider" not in spec:
        spec.add(codes.MISSING, "provider", "is required with action CUSTOM", "name the authorizer to ask")
        return ""
    return provider.text("name", required=True)


def _refuse_identities(spec: Fields, rules: tuple[Rule, ...]) -> None:
    """What Istio cannot look at before tokens are checked."""
    for rule in rules:
        for match in rule.matches:
            if match.key.row.needs_identity or match.key.row.needs_token:
                name = match.path.removeprefix(f"{spec.path}.")
                spec.add(codes.NOT_IN_CUSTOM, name, "cannot stand in a CUSTOM rule", "use a DENY rule for it")


def _read_rules(spec: Fields) -> Iterable[Rule]:
    rules = list(spec.children("rules"))
    if len(rules) > MAX_RULES:
        spec.add(codes.TOO_MANY, "rules", f"{len(rules)} rules, at most {MAX_RULES}", "split the policy")
    for rule in rules:
        before = sum(problem.is_error for problem in rule.problems)
        rule.only("from", "to", "when")
        sources = tuple(_read_source(entry) for entry in _entries(rule, "from", "source"))
        operations = tuple(_read_operation(entry) for entry in _entries(rule, "to", "operation"))
        when = tuple(match for entry in rule.children("when") for match in _read_condition(entry))
        broken = sum(problem.is_error for problem in rule.problems) > before
        yield Rule(sources, operations, when, rule.document.origin(rule.path), broken)


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
    matches = _read_lists(source, SOURCE_FIELDS)
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
    return _read_lists(operation, OPERATION_FIELDS)


def _read_lists(entry: Fields, table: Mapping[str, Attribute]) -> tuple[Match, ...]:
    names = {**{name: (attribute, False) for name, attribute in table.items()}}
    names |= {_not(name): (attribute, True) for name, attribute in table.items()}
    entry.only(*names)
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
    """None: there is no such list, or a value of it is wrong."""
    before = len(entry.problems)
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
    if not values or any(problem.is_error for problem in entry.problems[before:]):
        return None
    path = f"{entry.path}.{name}"
    return Match(key, values, negated, path, entry.document.origin(path))


def _warn_wide_on_tcp(spec: Fields, rules: tuple[Rule, ...]) -> None:
    """Istio's warning, which looks at `from` and `to` on their own, and rules of HTTP conditions only."""
    for index, rule in enumerate(rules):
        source, operation = (_is_http_only(groups) for groups in (rule.sources, rule.operations))
        alone = source and not rule.operations and not rule.when
        if alone or operation or (rule.matches and _is_http_only((rule.matches,))):
            message = "only HTTP fields: on TCP ports this rule denies everything"
            if not _is_http_only((rule.matches,)):
                message = "only HTTP fields in to: on TCP ports this rule denies whatever its from matches"
            spec.warn(
                codes.WIDE_ON_TCP, f"rules[{index}]", message, "name the HTTP ports in to.operation.ports"
            )


def _is_http_only(groups: tuple[tuple[Match, ...], ...]) -> bool:
    matches = [match for group in groups for match in group]
    return bool(matches) and all(match.key.row.transport is Transport.HTTP_ONLY for match in matches)


def _not(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"
