"""The settings of a mesh as an object: of `pylis server --mesh-config` and of a PolicyTest's `spec.mesh`.

Names are those of Istio's MeshConfig where it has one; only what is enforced is taken.
"""

from __future__ import annotations

from policies import codes
from policies.authorizer import read_authorizers
from policies.fields import Fields, is_label
from policies.workload import MeshSettings, PathNormalization

DEFAULT_TRUST_DOMAIN = "cluster.local"
DEFAULT_ROOT_NAMESPACE = "istio-system"
MAX_TRUSTED_PROXIES = 10
_FIELDS = (
    "trustDomain", "trustDomainAliases", "rootNamespace", "pathNormalization", "extensionProviders",
    "numTrustedProxies", "explainDenials",
)  # fmt: skip


def read_settings(mesh: Fields, *others: str, defaults: MeshSettings | None = None) -> MeshSettings:
    """`others`: fields that the caller reads itself. Problems are left in `mesh`."""
    base = defaults or MeshSettings(DEFAULT_TRUST_DOMAIN, root_namespace=DEFAULT_ROOT_NAMESPACE)
    mesh.only(*_FIELDS, *others)
    root = mesh.text("rootNamespace", base.root_namespace)
    if not is_label(root):
        mesh.add(codes.BAD_NAME, "rootNamespace", f'"{root}" is no namespace')
    return MeshSettings(
        mesh.text("trustDomain", base.trust_domain),
        mesh.texts("trustDomainAliases") if "trustDomainAliases" in mesh else base.trust_domain_aliases,
        root,
        mesh.choice("pathNormalization", PathNormalization.MERGE_SLASHES)
        if "pathNormalization" in mesh
        else base.path_normalization,
        read_authorizers(mesh) if "extensionProviders" in mesh else base.authorizers,
        mesh.integer("numTrustedProxies", low=0, high=MAX_TRUSTED_PROXIES, default=base.trusted_proxies),
        mesh.boolean("explainDenials", default=base.explain_denials),
    )
