"""The signing path by itself; over a real stream it is tested in tests/integration/test_agents.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ca import keys
from ca.csr import prove
from ca.errors import CsrError
from ca.keystore import MemoryKeystore
from ca.node_protocol import Refused, RenewAgent, Sign, Signed, SignedJwt, SignJwt
from ca.registrations import Registration
from ca.service import CertificateAuthority
from ca.spiffe_id import TrustDomain, workload_id
from controlplane.audit import Decision
from controlplane.issuance import Issuance, KeyUse

DOMAIN = TrustDomain("example.org")
ORDERS = Registration(
    "shop/orders", workload_id(DOMAIN, "shop", "orders"), frozenset({"unix:uid:1"}), frozenset({"one"})
)
ALLOWED = {ORDERS.name: ORDERS}


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.open(DOMAIN, MemoryKeystore())


def a_csr() -> bytes:
    return keys.csr_for(keys.new_key())


def test_each_request_has_its_answer_and_its_record_in_order(authority: CertificateAuthority) -> None:
    asked = [
        Sign(1, "shop/orders", a_csr()), Sign(2, "pay/ledger", a_csr()), SignJwt(3, "shop/orders", ("db",)),
        SignJwt(4, "shop/orders", ()), RenewAgent(5, a_csr()),
    ]  # fmt: skip
    found = Issuance(authority, lambda: 0.0).answer("one", ALLOWED, asked)
    assert [type(m) for m in found.messages] == [Signed, Refused, SignedJwt, Refused, Signed]
    assert [(e.verb, e.decision) for e in found.entries] == [
        ("issue", Decision.ALLOW), ("issue", Decision.REFUSE), ("issue-jwt", Decision.ALLOW),
        ("issue-jwt", Decision.REFUSE), ("renew", Decision.ALLOW),
    ]  # fmt: skip
    assert found.renewed is not None
    assert (found.entries[0].namespace, found.entries[0].name) == ("shop", "orders")
    token = found.messages[2]
    assert isinstance(token, SignedJwt)
    assert token.token not in str(found.entries)


def test_limits_are_apart_for_identities_agents_and_tokens(authority: CertificateAuthority) -> None:
    now = [0.0]
    issuance = Issuance(authority, lambda: now[0])
    many = [Sign(i, "shop/orders", a_csr()) for i in range(25)]
    assert sum(isinstance(m, Refused) for m in issuance.answer("one", ALLOWED, many).messages) == 5
    assert isinstance(issuance.answer("two", ALLOWED, [Sign(1, "shop/orders", a_csr())]).messages[0], Signed)
    assert isinstance(
        issuance.answer("one", ALLOWED, [SignJwt(1, "shop/orders", ("a",))]).messages[0], SignedJwt
    )
    now[0] = 1.0
    assert isinstance(issuance.answer("one", ALLOWED, [Sign(1, "shop/orders", a_csr())]).messages[0], Signed)


def test_a_key_is_one_identitys_until_its_certificate_has_expired() -> None:
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    use, csr = KeyUse(lambda: now[0]), prove(a_csr())
    use.note(use.unused(csr, "a"), "a", now[0] + timedelta(hours=1))
    assert use.unused(csr, "a")
    with pytest.raises(CsrError, match="another identity"):
        use.unused(csr, "b")
    now[0] += timedelta(hours=2)
    assert use.unused(csr, "b")


def test_what_is_remembered_of_keys_is_bounded() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    use, first = KeyUse(lambda: now, most=3), prove(a_csr())
    for csr in (first, *(prove(a_csr()) for _ in range(3))):
        use.note(use.unused(csr, "a"), "a", now + timedelta(hours=1))
    assert use.unused(first, "b")  # the oldest went
