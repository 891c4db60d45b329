"""Rules that decide nothing: found by leaving each out and comparing what is decided, on every request there can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from policies import codes
from policies.authorization_policy import AuthorizationPolicy
from policies.compare import Variants
from policies.diff import all_targets
from policies.lint.world import World, at_rule
from policies.lower import rule_name
from policies.pattern import TooManyError
from policies.problem import Problem
from policies.program import Action, Clause, DecisionProgram, Protocol, Revoked
from policies.side import Side, side

MAX_CLAUSES = 400  # of one port; above it the comparisons take longer than anybody waits


@dataclass(slots=True)
class _Port:
    """A program from which rules are taken away one by one."""

    variants: Variants
    program: DecisionProgram
    names: frozenset[str]


def check(world: World) -> Iterator[Problem]:
    ports = list(_ports(world))
    for policy in reversed(world.policies.authorization):
        if policy.dry_run or policy.action not in (Action.ALLOW, Action.DENY):
            continue
        for index in reversed(range(len(policy.rules))):
            name = rule_name(policy, index)
            own = [port for port in ports if name in port.names]
            if own and not any(_has_effect(port, policy.action, name) for port in own):
                yield _finding(policy, index, own)
                for port in own:
                    port.program = _without(port.program, name)


def _ports(world: World) -> Iterable[_Port]:
    """One for each different program. Programs that are too large are left out."""
    met = set[Side]()
    try:
        # where ports are not known they are taken for HTTP: on TCP a DENY rule of HTTP fields matches everything
        targets = world.targets or [t for t in all_targets(world.policies) if t.protocol is Protocol.HTTP]
    except TooManyError:
        return
    for target in targets:
        one = side(world.policies, target)
        program = replace(one.program, delegations=(), revoked=Revoked())
        one = replace(one, program=program)
        if one in met or len(program.deny) + len(program.allow) > MAX_CLAUSES:
            continue
        met.add(one)
        try:
            variants = Variants(one)
        except TooManyError:
            continue
        names = frozenset(clause.name for clause in (*program.deny, *program.allow))
        yield _Port(variants, program, names)


def _has_effect(port: _Port, action: Action, name: str) -> bool:
    """A rule that DENY rules stand behind is asked as if everything else were allowed."""
    program = port.program
    if action is Action.DENY:
        program = replace(program, allow=(), allow_applies=False)
    return _differ(port, program, _without(program, name))


def _differ(port: _Port, one: DecisionProgram, other: DecisionProgram) -> bool:
    """Too much to compare counts as a difference: nothing is said then."""
    try:
        return port.variants.differ(one, other)
    except TooManyError:
        return True


def _finding(policy: AuthorizationPolicy, index: int, ports: Sequence[_Port]) -> Problem:
    name = rule_name(policy, index)
    if not any(_matches_something(port, policy.action, name) for port in ports):
        text = "matches no request: its conditions exclude each other"
        return at_rule(codes.VACUOUS, policy, index, text, "remove it, or the condition that is too much")
    if policy.action is Action.ALLOW and not any(_allows_something(port, name) for port in ports):
        text = "never allows: DENY rules match all of its requests"
        return at_rule(codes.SHADOWED, policy, index, text, "narrow the DENY rule, or remove this one")
    cover = next(
        (c for c in _others(ports, policy.action, name) if _covered(ports, policy.action, name, c)), ""
    )
    text = f"decides nothing: {cover or 'the other rules together'} already match all of its requests"
    return at_rule(
        codes.REDUNDANT,
        policy,
        index,
        text.replace("match all", "matches all") if cover else text,
        "remove it",
    )


def _matches_something(port: _Port, action: Action, name: str) -> bool:
    own = _clauses(port.program, action, name)
    nothing = replace(port.program, deny=(), allow=(), allow_applies=action is Action.ALLOW)
    return _differ(port, nothing, _with(nothing, action, own))


def _allows_something(port: _Port, name: str) -> bool:
    nothing = replace(port.program, allow=())
    return _differ(port, nothing, _with(nothing, Action.ALLOW, _clauses(port.program, Action.ALLOW, name)))


def _others(ports: Sequence[_Port], action: Action, name: str) -> list[str]:
    found = dict[str, None]()
    for port in ports:
        clauses = port.program.allow if action is Action.ALLOW else port.program.deny
        found |= dict.fromkeys(clause.name for clause in clauses if clause.name != name)
    return list(found)


def _covered(ports: Sequence[_Port], action: Action, name: str, cover: str) -> bool:
    """Does `cover` alone match everything that the rule matches and that comes so far?"""
    for port in ports:
        base = replace(port.program, allow=())
        if action is Action.DENY:
            base = replace(port.program, deny=(), allow=(), allow_applies=False)
        one, own = (_clauses(port.program, action, which) for which in (cover, name))
        if _differ(port, _with(base, action, one), _with(base, action, (*one, *own))):
            return False
    return True


def _clauses(program: DecisionProgram, action: Action, name: str) -> tuple[Clause, ...]:
    clauses = program.allow if action is Action.ALLOW else program.deny
    return tuple(clause for clause in clauses if clause.name == name)


def _with(program: DecisionProgram, action: Action, clauses: tuple[Clause, ...]) -> DecisionProgram:
    if action is Action.ALLOW:
        return replace(program, allow=clauses)
    return replace(program, deny=clauses)


def _without(program: DecisionProgram, name: str) -> DecisionProgram:
    return replace(
        program,
        deny=tuple(clause for clause in program.deny if clause.name != name),
        allow=tuple(clause for clause in program.allow if clause.name != name),
    )
