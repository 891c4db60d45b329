"""Why: for one request, what each clause made of it, which decided, and how near the others came.

A fold over the same DecisionProgram as `evaluate`, and it agrees with it. Rendering is text only, no colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.attributes import Attribute
from policies.evaluate import Decision, Facts, evaluate, holds
from policies.predicate import Condition, Exact, Network, Prefix, Present, Suffix, Value
from policies.problem import Origin
from policies.program import DEFAULT_ALLOW, DEFAULT_DENY, Action, Clause, DecisionProgram
from policies.request import Request
from policies.workload import MeshSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """One clause: the conditions that held before `failed`, the first that did not (None: it matched)."""

    action: Action
    name: str
    origin: Origin
    held: tuple[Condition, ...]
    failed: Condition | None

    @property
    def matched(self) -> bool:
        return self.failed is None


@dataclass(frozen=True, slots=True)
class Explanation:
    """`outcomes` in the order of evaluation; `nearest` is the ALLOW clause with the most conditions held."""

    decision: Decision
    outcomes: tuple[Outcome, ...]
    nearest: Outcome | None
    because: str


def explain(program: DecisionProgram, request: Request, settings: MeshSettings) -> Explanation:
    facts = Facts(request, settings)
    decision = evaluate(program, request, settings)
    outcomes = (
        *(_outcome(Action.DENY, clause, facts) for clause in program.deny),
        *(_outcome(Action.ALLOW, clause, facts) for clause in program.allow),
    )
    missed = [o for o in outcomes if o.action is Action.ALLOW and not o.matched and o.held]
    nearest = max(missed, key=lambda o: len(o.held), default=None) if not decision.allowed else None
    return Explanation(decision, outcomes, nearest, _because(program, decision))


def _outcome(action: Action, clause: Clause, facts: Facts) -> Outcome:
    held: list[Condition] = []
    failed: Condition | None = None
    for condition in clause.conditions:
        if holds(condition, facts):
            held.append(condition)
        elif failed is None:
            failed = condition
    return Outcome(action, clause.name, clause.origin, tuple(held), failed)


def _because(program: DecisionProgram, decision: Decision) -> str:
    match decision.rule:
        case rule if rule == DEFAULT_ALLOW:
            return "no ALLOW policy selects the workload, and no DENY rule matched"
        case rule if rule == DEFAULT_DENY and not program.allow:
            return "an ALLOW policy selects the workload, and none has a rule for this port"
        case rule if rule == DEFAULT_DENY:
            return "no ALLOW rule matched, and at least one ALLOW policy selects the workload"
        case rule:
            return f"{'ALLOW' if decision.allowed else 'DENY'} rule {rule} matched"


def render(explanation: Explanation, request: Request, settings: MeshSettings) -> list[str]:
    """The table of rules and the deciding sentence, a line each."""
    facts = Facts(request, settings)
    rows = [("action", "rule", "outcome", "")]
    for outcome in explanation.outcomes:
        mark = "   ← nearest" if outcome is explanation.nearest else ""
        where = str(outcome.failed.origin if outcome.failed else outcome.origin)
        rows.append((str(outcome.action), outcome.name, _why(outcome, facts), where + mark))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        "  " + "  ".join((*(row[i].ljust(widths[i]) for i in range(3)), row[3])).rstrip() for row in rows
    ]
    table = lines if explanation.outcomes else ["  no rule applies to this port of the workload"]
    return [*table, f"  decided by: {explanation.because}."]


def _why(outcome: Outcome, facts: Facts) -> str:
    if outcome.failed is None:
        return "matched"
    held = "".join(f"matched {_field(c)}; " for c in outcome.held[:2])
    condition = outcome.failed
    verb = "must be none of" if condition.negated else "wants"
    return f"{held}{_field(condition)}: {verb} {_values(condition.values)}, is {_actual(condition, facts)}"


def _field(condition: Condition) -> str:
    key = condition.key
    return f"header {key.name}" if key.name else key.attribute.rpartition(".")[2]


def _values(values: Sequence[Value]) -> str:
    shown = [written(value) for value in values[:3]]
    more = f" or {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(shown) + more


def written(value: Value) -> str:
    """A value as a policy would have it."""
    match value:
        case Exact(text):
            return text
        case Prefix(text):
            return f"{text}*"
        case Suffix(text):
            return f"*{text}"
        case Present():
            return "*"
        case Network(network):
            return str(network)


def _actual(condition: Condition, facts: Facts) -> str:
    if condition.key.attribute is Attribute.SOURCE_IP:
        return str(facts.request.source_ip) if facts.request.source_ip else "absent"
    text = facts.text(condition)
    return "absent" if text is None else f'"{text}"' if not text else text
