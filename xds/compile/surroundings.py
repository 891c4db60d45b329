"""What the authorization of a port depends on besides its program."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from policies.program import DecisionProgram


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`trust_domains`: those mutual TLS admits. `authorizers`: (host, port) of those that can be reached.

    `jwks`: the fetched keys its token rules need, by `JwtRule.key_source`.
    """

    trust_domains: tuple[str, ...]
    authorizers: tuple[tuple[str, int], ...] = ()
    jwks: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(
        cls,
        program: DecisionProgram,
        trust_domains: tuple[str, ...],
        destinations: Collection[tuple[str, int]],
        jwks: Mapping[str, str],
    ) -> Surroundings:
        """No more than the program looks at, so that nothing else makes it another one."""
        asked = {(d.authorizer.service, d.authorizer.port) for d in program.delegations if d.authorizer}
        sources = {rule.key_source for rule in program.authentication.rules}
        keys = tuple((source, jwks[source]) for source in sorted(sources) if source in jwks)
        return cls(trust_domains, tuple(sorted(asked.intersection(destinations))), keys)
