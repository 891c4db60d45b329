from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ca import keys, profile, sign
from ca.csr import prove
from ca.errors import ProfileError
from ca.sign import Signer
from ca.spiffe_id import SpiffeId, TrustDomain

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TD = TrustDomain.parse("example.org")
DAY = timedelta(days=1)


def a_root() -> Signer:
    key = keys.new_key()
    wanted = profile.Authority(TD, "root", key.public_key(), NOW, NOW + DAY, 1, 1)
    return Signer(sign.self_signed(wanted, key), key)


def test_an_authority_is_signed_by_the_one_above() -> None:
    root = a_root()
    wanted = profile.Authority(TD, "issuing", keys.new_key().public_key(), NOW, NOW + DAY, 2, 0)
    sign.authority(wanted, root).verify_directly_issued_by(root.certificate)


def test_a_leaf_that_breaks_the_profile_does_not_leave() -> None:
    without_path = SpiffeId.parse("spiffe://example.org")
    leaf = profile.Leaf(without_path, prove(keys.csr_for(keys.new_key())), NOW, NOW + DAY, 3)
    with pytest.raises(ProfileError, match="needs a path"):
        sign.leaf(leaf, a_root())


def test_a_signers_key_is_not_in_its_repr() -> None:
    assert "key=" not in repr(a_root())
