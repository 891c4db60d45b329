"""What decides about requests to one port of one workload: the program, and what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from policies.authorization_policy import AuthorizationPolicy
from policies.evaluate import Decision, Outside, evaluate
from policies.lower import lower, rule_name
from policies.peer_authentication import EffectiveMode, PeerAuthentication, find_mode
from policies.problem import Origin
from policies.program import DecisionProgram, Protocol, Revoked
from policies.request import Request
from policies.request_authentication import RequestAuthentication, authentication
from policies.select import select
from policies.workload import MeshSettings, MtlsMode, Workload


@dataclass(frozen=True, slots=True)
class Policies:
    """One side: everything that decides. `peer_authentications` oldest first."""

    settings: MeshSettings
    authorization: tuple[AuthorizationPolicy, ...] = ()
    peer_authentications: tuple[PeerAuthentication, ...] = ()
    request_authentications: tuple[RequestAuthentication, ...] = ()
    revoked: Revoked = Revoked()

    def rule_origin(self, name: str) -> Origin:
        """Where the rule that a decision names is written."""
        for policy in self.authorization:
            for index, rule in enumerate(policy.rules):
                if rule_name(policy, index) == name:
                    return rule.origin
        return Origin()


@dataclass(frozen=True, slots=True)
class Target:
    """A port of a workload, and how its bytes are read; not `named`: it stands for any workload like it."""

    workload: Workload
    port: int
    protocol: Protocol
    named: bool = True


@dataclass(frozen=True, slots=True)
class Side:
    """A program with what decides beside it."""

    program: DecisionProgram
    settings: MeshSettings
    mode: MtlsMode = MtlsMode.STRICT

    def decide(self, witness: Witness) -> Decision:
        outside = Outside(authorizers=witness.authorizers)
        return evaluate(self.program, witness.request, self.settings, self.mode, outside)


@dataclass(frozen=True, slots=True)
class Witness:
    """A request, and what each external authorizer would answer."""

    request: Request
    authorizers: Mapping[str, bool] = field(default_factory=dict[str, bool])


def selected(policies: Policies, workload: Workload) -> tuple[AuthorizationPolicy, ...]:
    """The AuthorizationPolicies of a workload, in the order of evaluation."""
    return select(policies.authorization, workload, policies.settings)


def mode_of(policies: Policies, target: Target) -> EffectiveMode:
    """The mTLS mode of a target, and who says so."""
    return find_mode(policies.peer_authentications, target.workload, target.port, policies.settings)


def side(policies: Policies, target: Target) -> Side:
    """What decides about requests to a target."""
    settings, workload = policies.settings, target.workload
    program = lower(
        selected(policies, workload),
        settings,
        port=target.port,
        protocol=target.protocol,
        authentication=authentication(policies.request_authentications, workload, settings),
    )
    return Side(replace(program, revoked=policies.revoked), settings, mode_of(policies, target).mode)
