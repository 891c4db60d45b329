"""Principals and trust-domain aliases: one written principal stands for the same account in each own domain.

Source: Istio's trust domain migration (docs/reference/policy.md): a principal of the exact form
`td/ns/N/sa/S` is rewritten when `td` is ours, an alias, or the literal `cluster.local`; others are left.
"""

from __future__ import annotations

from policies.workload import MeshSettings

CLUSTER_LOCAL = "cluster.local"


def expand_principal(principal: str, settings: MeshSettings) -> tuple[str, ...]:
    """The values a written principal stands for, without repetition."""
    own = (settings.trust_domain, *settings.trust_domain_aliases)
    parts = principal.split("/")
    domain = parts[0]
    if len(parts) != 5 or domain == "*":
        return (principal,)
    if domain in own or domain == CLUSTER_LOCAL:
        rest = principal.removeprefix(domain)
        return tuple(dict.fromkeys(name + rest for name in own))
    ending = domain.removeprefix("*")
    if ending != domain and any(name.endswith(ending) for name in own):
        # "*-td/…" covers the domains with that ending as it stands; Istio adds the others too
        rest = principal.removeprefix(domain)
        written = (principal if name.endswith(ending) else name + rest for name in own)
        return tuple(dict.fromkeys(written))
    return (principal,)


def expand_trust_domain(domain: str, settings: MeshSettings) -> tuple[str, ...]:
    """A written trust domain that is one of the mesh's own stands for all of them; wildcards are left."""
    own = (settings.trust_domain, *settings.trust_domain_aliases)
    return tuple(dict.fromkeys(own)) if domain in own else (domain,)
