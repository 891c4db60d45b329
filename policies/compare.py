"""Two programs, compared on every request there can be: which requests the second allows and the first does not.

Exact: the conditions of both cut the space of requests into finitely many parts (`space`), and the programs are
decided part by part, a dimension at a time. What is left of them after some choices is often the same again, and
is decided once. Each difference comes with a request that `evaluate` answers so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from policies.attributes import Attribute, Key
from policies.evaluate import Facts, holds, seen_in
from policies.pattern import TooManyError
from policies.predicate import Condition, Exact, Present
from policies.problem import Origin
from policies.program import Clause, DecisionProgram
from policies.side import Side, Witness
from policies.space import Choice, a_request, apply, partition
from policies.workload import MeshSettings, MtlsMode

MAX_PARTS: Final = 100_000
MAX_SAMPLES: Final = 64


@dataclass(frozen=True, slots=True)
class Comparison:
    """Some requests that only the new side allows, and some that only the old one does; none: there are none."""

    gains: tuple[Witness, ...] = ()
    losses: tuple[Witness, ...] = ()


def compare(old: Side, new: Side) -> Comparison:
    """Raises: TooManyError, where the space is too large to be looked at."""
    if old.settings.path_normalization is not new.settings.path_normalization:
        raise TooManyError("the two sides normalise paths differently")
    atoms = _Atoms()
    before, after = atoms.read(0, old), atoms.read(1, new)
    if before == after:
        return Comparison()
    walk = _Walk(_parts(atoms, (old, new)))
    gains, losses = walk.differences(before, after, 0)
    return Comparison(_confirm(gains, old, new, True), _confirm(losses, old, new, False))


class Variants:
    """Programs made of the clauses of one side, compared without cutting the space anew each time.

    Raises: TooManyError, here and when asked.
    """

    def __init__(self, side: Side) -> None:
        self._side = side
        self._atoms = _Atoms()
        self._atoms.read(0, side)
        self._walk = _Walk(_parts(self._atoms, (side, side)))

    def differ(self, one: DecisionProgram, other: DecisionProgram) -> bool:
        """Is there a request that the two decide differently?"""
        first, second = (self._atoms.read(0, replace(self._side, program=p)) for p in (one, other))
        return any(self._walk.differences(first, second, 0))


@dataclass(frozen=True, slots=True)
class _Left:
    """What is left to decide: any of `deny` denies, then any of `allow` must hold (None: nothing is asked).

    A set of atoms is a conjunction.
    """

    deny: frozenset[frozenset[int]] = frozenset()
    allow: frozenset[frozenset[int]] | None = None

    @property
    def verdict(self) -> bool | None:
        """The decision, once there is nothing left that could change it."""
        if frozenset() in self.deny or (self.allow is not None and not self.allow):
            return False
        return True if not self.deny and (self.allow is None or frozenset() in self.allow) else None

    def after(self, known: frozenset[int], true: frozenset[int]) -> _Left:
        deny = _after(self.deny, known, true)
        if frozenset() in deny:
            return _DENIED
        if self.allow is None:
            return _Left(deny)
        allow = _after(self.allow, known, true)
        if not allow:
            return _DENIED
        return _Left(deny, None if frozenset() in allow else allow)


_DENIED: Final = _Left(frozenset({frozenset()}))


def _after(
    conjunctions: frozenset[frozenset[int]], known: frozenset[int], true: frozenset[int]
) -> frozenset[frozenset[int]]:
    return frozenset(c - known for c in conjunctions if (c & known) <= true)


class _Atoms:
    """Conditions by number; equal ones of both sides are one where both read a request alike."""

    def __init__(self) -> None:
        self.conditions = dict[tuple[Condition, int], int]()
        self.refusals = dict[str, int]()
        self._alike: tuple[MeshSettings, MtlsMode] | None = None

    def read(self, side_index: int, side: Side) -> _Left:
        reading = (side.settings, side.mode)
        shared = self._alike in (None, reading)
        self._alike = self._alike or reading
        tag = 0 if shared else side_index
        program = side.program
        deny = [self._conjunction(clause, tag) for clause in program.deny]
        if program.revoked.principals:
            revoked = tuple(Exact(p) for p in sorted(program.revoked.principals))
            deny.append(frozenset({self._number(Condition(_PRINCIPAL, revoked), tag)}))
        if side.mode is MtlsMode.STRICT:
            deny.append(frozenset({self._number(Condition(_PRINCIPAL, (Present(),), negated=True), tag)}))
        for delegation in program.delegations:
            refused = frozenset[int]()
            if delegation.authorizer is not None:
                refused = frozenset({self.refusals.setdefault(delegation.provider, -1 - len(self.refusals))})
            deny += [self._conjunction(clause, tag) | refused for clause in delegation.clauses]
        allow = frozenset(self._conjunction(clause, tag) for clause in program.allow)
        left = _Left(frozenset(deny), allow if program.allow_applies else None)
        return left.after(frozenset(), frozenset())

    def _conjunction(self, clause: Clause, tag: int) -> frozenset[int]:
        return frozenset(self._number(condition, tag) for condition in clause.conditions)

    def _number(self, condition: Condition, tag: int) -> int:
        bare = replace(condition, path="", origin=Origin())
        return self.conditions.setdefault((bare, tag), len(self.conditions))


_PRINCIPAL: Final = Key(Attribute.PRINCIPAL)


@dataclass(frozen=True, slots=True)
class _Part:
    """A dimension: the atoms it decides, and a choice for each set of them that can be true together."""

    atoms: frozenset[int]
    choices: tuple[tuple[frozenset[int], Choice], ...]


def _parts(atoms: _Atoms, sides: tuple[Side, Side]) -> list[_Part]:
    settings, protocol = sides[0].settings, sides[0].program.protocol
    parts = list[_Part]()
    for dimension in partition(dict.fromkeys(c for c, _ in atoms.conditions), settings, protocol):
        looked_at = frozenset(dimension.conditions)
        own = {key: number for key, number in atoms.conditions.items() if key[0] in looked_at}
        chosen = dict[frozenset[int], Choice]()
        for choice in dimension.choices:
            request = apply(a_request(protocol), [choice])
            seen = [Facts(seen_in(side.mode, request), side.settings) for side in sides]
            true = frozenset(number for (c, tag), number in own.items() if holds(c, seen[tag]))
            chosen.setdefault(true, choice)
        parts.append(_Part(frozenset(own.values()), tuple(chosen.items())))
    for provider, number in atoms.refusals.items():
        known = frozenset({number})
        parts.append(_Part(known, ((frozenset(), Choice()), (known, Choice(refuses=(provider,))))))
    return parts


_Samples = tuple[tuple[Choice, ...], ...]


class _Walk:
    def __init__(self, parts: Sequence[_Part]) -> None:
        self.parts = parts
        self._met = dict[tuple[_Left, _Left, int], tuple[_Samples, _Samples]]()

    def differences(self, old: _Left, new: _Left, at: int) -> tuple[_Samples, _Samples]:
        """Choices for the dimensions from `at` on that only `new` allows, and that only `old` does."""
        if old == new or (old.verdict is not None and old.verdict == new.verdict):
            return (), ()
        if old.verdict is not None and new.verdict is not None:
            return (((),), ()) if new.verdict else ((), ((),))
        found = self._met.get((old, new, at))
        if found is None:
            found = self._met[old, new, at] = self._split(old, new, at)
            if len(self._met) > MAX_PARTS:
                raise TooManyError(f"more than {MAX_PARTS} parts")
        return found

    def _split(self, old: _Left, new: _Left, at: int) -> tuple[_Samples, _Samples]:
        part = self.parts[at]
        gains, losses = list[tuple[Choice, ...]](), list[tuple[Choice, ...]]()
        for true, choice in part.choices:
            more, less = self.differences(old.after(part.atoms, true), new.after(part.atoms, true), at + 1)
            gains += [(choice, *rest) for rest in more]
            losses += [(choice, *rest) for rest in less]
        return _spread(gains), _spread(losses)


def _spread(samples: list[tuple[Choice, ...]]) -> _Samples:
    """Not more than `MAX_SAMPLES`, from all over."""
    step = -(-len(samples) // MAX_SAMPLES) or 1
    return tuple(samples[::step])


def _confirm(
    samples: Iterable[tuple[Choice, ...]], old: Side, new: Side, gained: bool
) -> tuple[Witness, ...]:
    """The samples as requests that are answered differently, by what everybody else asks."""
    providers = {d.provider for side in (old, new) for d in side.program.delegations}
    found = list[Witness]()
    for choices in samples:
        refused = {name for choice in choices for name in choice.refuses}
        request = apply(a_request(old.program.protocol), choices)
        witness = Witness(request, {name: name not in refused for name in sorted(providers)})
        answers = old.decide(witness).allowed, new.decide(witness).allowed
        if answers != (not gained, gained):
            raise AssertionError(f"evaluate does not confirm {witness}")
        found.append(witness)
    return tuple(found)
