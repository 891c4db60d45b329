"""Why: for one request, what each rule made of it, which decided, and how near the others came.

A fold over the same DecisionProgram as `evaluate`, and it agrees with it. Its text is made in `wording`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from policies.authorization_policy import AuthorizationPolicy
from policies.evaluate import Decision, Facts, Outside, authenticated, evaluate, holds, seen_in
from policies.lower import Dropped, lower_rule, rule_name
from policies.predicate import Condition
from policies.problem import Origin
from policies.program import DEFAULT_DENY, Action, Clause, DecisionProgram
from policies.request import Request
from policies.workload import MeshSettings, MtlsMode


@dataclass(frozen=True, slots=True)
class Step:
    """One condition on this request; `seen` is the attribute's value, None where it is absent."""

    condition: Condition
    seen: str | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """One clause of a rule, all of its conditions in order."""

    action: Action
    name: str
    origin: Origin
    steps: tuple[Step, ...]
    tried: bool = False  # of a dry-run policy: decides nothing

    @property
    def matched(self) -> bool:
        return all(step.holds for step in self.steps)

    @property
    def held(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.holds)

    @property
    def failed(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if not step.holds)

    @property
    def policy(self) -> str:
        return self.name.rpartition("[")[0]


@dataclass(frozen=True, slots=True)
class Unused:
    """A rule, or a policy without rules, that has no clause in the program."""

    action: Action
    name: str
    reason: str
    origin: Origin

    @property
    def policy(self) -> str:
        return self.name.partition("[")[0]


@dataclass(frozen=True, slots=True)
class Explanation:
    """`outcomes` in the order of evaluation, dry runs last; `nearest`: the ALLOW clause with the most conditions held."""

    decision: Decision
    outcomes: tuple[Outcome, ...]
    unused: tuple[Unused, ...]
    nearest: Outcome | None


def explain(
    program: DecisionProgram,
    request: Request,
    settings: MeshSettings,
    *,
    mode: MtlsMode = MtlsMode.PERMISSIVE,
    policies: Sequence[AuthorizationPolicy] = (),
    outside: Outside = Outside(),
) -> Explanation:
    """`policies`: what `select` gave, to name the rules that lowering left out of the program."""
    arriving = Facts(seen_in(mode, request), settings)
    decision = evaluate(program, request, settings, mode, outside)
    checked = authenticated(program, arriving, outside)
    # a refused token ends a request before its rules; they are shown for what the caller sent
    facts = checked if isinstance(checked, Facts) else arriving
    outcomes = (
        *(_outcome(Action.CUSTOM, clause, arriving) for d in program.delegations for clause in d.clauses),
        *(_outcome(Action.AUDIT, clause, facts) for clause in program.audit),
        *(_outcome(Action.DENY, clause, facts) for clause in program.deny),
        *(_outcome(Action.ALLOW, clause, facts) for clause in program.allow),
        *(_outcome(Action.DENY, clause, facts, tried=True) for clause in program.dry_run.deny or ()),
        *(_outcome(Action.ALLOW, clause, facts, tried=True) for clause in program.dry_run.allow or ()),
        *_observed(program, facts),
    )
    unused = tuple(item for policy in policies for item in _unused(policy, program, settings))
    nearest = None
    if decision.rule == DEFAULT_DENY:
        missed = [outcome for outcome in outcomes if outcome.action is Action.ALLOW and not outcome.tried]
        nearest = max(missed, key=lambda o: (len(o.held), -len(o.failed)), default=None)
    return Explanation(decision, outcomes, unused, nearest)


def _observed(program: DecisionProgram, facts: Facts) -> Iterator[Outcome]:
    """What would be asked if the workload were not only observed."""
    if program.observed is not None:
        yield from (_outcome(Action.DENY, clause, facts, tried=True) for clause in program.observed.deny)
        yield from (_outcome(Action.ALLOW, clause, facts, tried=True) for clause in program.observed.allow)


def _outcome(action: Action, clause: Clause, facts: Facts, *, tried: bool = False) -> Outcome:
    steps = tuple(Step(c, facts.text(c.key), holds(c, facts)) for c in clause.conditions)
    return Outcome(action, clause.name, clause.origin, steps, tried)


def _unused(policy: AuthorizationPolicy, program: DecisionProgram, settings: MeshSettings) -> list[Unused]:
    if not policy.rules:
        nothing = "allows" if policy.action is Action.ALLOW else "matches"
        return [Unused(policy.action, policy.full_name, f"no rules: {nothing} nothing", policy.origin)]
    found = list[Unused]()
    for index, rule in enumerate(policy.rules):
        lowered = lower_rule(policy, index, settings, port=program.port, protocol=program.protocol)
        if isinstance(lowered, Dropped):
            found.append(Unused(policy.action, rule_name(policy, index), str(lowered), rule.origin))
    return found
