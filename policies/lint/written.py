"""What a rule's own words tell, whoever its workloads are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from policies import codes
from policies.attributes import Attribute
from policies.authorization_policy import AuthorizationPolicy, Match
from policies.lint.world import World, at_match
from policies.lower import lower_match
from policies.normalize import normalize
from policies.predicate import Condition, Exact, Glob, Network, Prefix, Present, Suffix, Template, Value
from policies.problem import Problem
from policies.program import Action
from policies.values import is_template
from policies.wording import written as in_words
from policies.workload import MeshSettings, PathNormalization


def check(world: World) -> Iterator[Problem]:
    settings = world.policies.settings
    for policy, match in world.matches():
        yield from _not_paths_in_allow(policy, match)
        yield from _any_principal(policy, match)
        yield from _not_normalised(policy, match, settings)
        yield from _path_never_sent(policy, match, settings)
        yield from _never_matches(policy, match, settings)
        condition = None
        if match.key.attribute is not Attribute.DESTINATION_PORT:
            condition = lower_match(match, policy, settings)
            yield from _costly(policy, match, condition)
            yield from _repeated(policy, match, condition)


def _not_paths_in_allow(policy: AuthorizationPolicy, match: Match) -> Iterable[Problem]:
    if policy.action is Action.ALLOW and match.negated and match.key.attribute is Attribute.PATH:
        hint = "allow the paths that are meant, and write the exception as a DENY policy"
        yield at_match(
            codes.NOT_PATHS_IN_ALLOW, policy, match, "allows every path that is not listed here", hint
        )


def _any_principal(policy: AuthorizationPolicy, match: Match) -> Iterable[Problem]:
    identity = match.key.row.needs_identity
    if policy.action is Action.ALLOW and identity and not match.negated and "*" in match.values:
        hint = "name namespaces or service accounts"
        yield at_match(codes.ANY_PRINCIPAL, policy, match, "allows every identity of the mesh", hint)


def _not_normalised(policy: AuthorizationPolicy, match: Match, settings: MeshSettings) -> Iterable[Problem]:
    if match.key.attribute is not Attribute.PATH:
        return
    hint = "set pathNormalization: MERGE_SLASHES"
    match settings.path_normalization:
        case PathNormalization.NONE:
            text = "paths are compared as they are sent: /x/../admin and //admin are other paths than /admin"
        case PathNormalization.BASE if policy.action is not Action.ALLOW:
            text = "slashes are not merged: //admin is another path than /admin"
        case _:
            return
    yield at_match(codes.NOT_NORMALISED, policy, match, text, hint)


def _path_never_sent(policy: AuthorizationPolicy, match: Match, settings: MeshSettings) -> Iterable[Problem]:
    if match.key.attribute is not Attribute.PATH:
        return
    for value in match.values:
        if "*" in value or is_template(value):
            continue
        sent = normalize(value, settings.path_normalization)
        if sent != value or not value.startswith("/"):
            hint = (
                f"write {sent}" if sent and sent.startswith("/") and sent != value else "paths begin with /"
            )
            text = f'"{value}" is never the path of a request'
            yield at_match(codes.PATH_NEVER_SENT, policy, match, text, hint)


def _never_matches(policy: AuthorizationPolicy, match: Match, settings: MeshSettings) -> Iterable[Problem]:
    for value in match.values:
        why, hint = "", ""
        match match.key.attribute:
            case Attribute.PRINCIPAL:
                why, hint = _wrong_principal(value, settings)
            case Attribute.REQUEST_PRINCIPAL:
                why, hint = _wrong_request_principal(value)
            case _:
                continue
        if why:
            yield at_match(codes.NEVER_MATCHES, policy, match, f'"{value}" {why}', hint)


def _wrong_principal(value: str, settings: MeshSettings) -> tuple[str, str]:
    if "*" in (value[1:] if value.startswith("*") else value[:-1]):
        hint = "use serviceAccounts or namespaces, which are the same in every trust domain"
        return "holds a * inside, which stands for itself", hint
    if "*" not in value and value.count("/") < 4:
        return "is no whole identity", "write trust-domain/ns/NAMESPACE/sa/ACCOUNT"
    own = (settings.trust_domain, *settings.trust_domain_aliases)
    if value.startswith("cluster.local/") and value.endswith("*") and "cluster.local" not in own:
        hint = f"write {settings.trust_domain}/{value.removeprefix('cluster.local/')}"
        return (
            f"begins with cluster.local, which is not rewritten to {settings.trust_domain} in a prefix",
            hint,
        )
    return "", ""


def _wrong_request_principal(value: str) -> tuple[str, str]:
    issuer, slash, subject = value.rpartition("/")
    if slash and subject == "*" and issuer.startswith("*"):
        return "asks for the subject * literally", 'write "*" for any token'
    if slash and value.endswith("*") and subject != "*" and issuer.endswith(("https:/", "http:/")):
        return f"is read as issuer {issuer} and subject {subject}", "write the issuer whole, and /*"
    return "", ""


def _costly(policy: AuthorizationPolicy, match: Match, condition: Condition) -> Iterable[Problem]:
    """What the matcher cannot look up in a map, and asks rule by rule."""
    forms = list(dict.fromkeys(form for value in condition.values if (form := _form(value))))
    if match.negated:
        forms = [f"not{match.path.rpartition('.not')[2]}" if ".not" in match.path else "a not form"]
    if forms:
        text = f"{' and '.join(forms)} cannot be looked up: Envoy tries it for each request that comes so far"
        yield at_match(
            codes.COSTLY, policy, match, text, "exact values and prefixes cost the same however many"
        )


def _form(value: Value) -> str:
    match value:
        case Suffix():
            return "a suffix"
        case Glob():
            return "a wildcard inside"
        case Template():
            return "a path template"
        case _:
            return ""


def _repeated(policy: AuthorizationPolicy, match: Match, condition: Condition) -> Iterable[Problem]:
    if len(condition.values) > 500:
        return
    for value in condition.values:
        cover = next((other for other in condition.values if other != value and _covers(other, value)), None)
        if cover is not None:
            text = f"{in_words(value)} is covered by {in_words(cover)}"
            yield at_match(codes.REPEATED, policy, match, text, f"remove {in_words(value)}")


def _covers(wide: Value, narrow: Value) -> bool:
    match wide, narrow:
        case Network(one), Network(other):
            return one.version == other.version and other.subnet_of(one)  # pyright: ignore[reportArgumentType] - of one version
        case Present(), (Exact() | Prefix() | Suffix()):
            return True
        case Prefix(text), (Exact() | Prefix()):
            return narrow.text.startswith(text)
        case Suffix(text), (Exact() | Suffix()):
            return narrow.text.endswith(text)
        case _:
            return False
