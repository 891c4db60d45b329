"""Long compilations are handed out, to be run elsewhere."""

from __future__ import annotations

from policies.attributes import Attribute, Key
from policies.predicate import Condition, Exact
from policies.program import Clause, DecisionProgram, Protocol
from policies.workload import MtlsMode, PathNormalization
from xds.compile import Compiler, compile_plan
from xds.plan import AppProtocol, InboundPort, ProxyPlan, SocketAddress

HERE = SocketAddress("10.0.0.1", 9000)


def a_plan(callers: int) -> ProxyPlan:
    values = tuple(Exact(f"example.org/ns/shop/sa/{n}") for n in range(callers))
    clause = Clause("shop/p[0]", (Condition(Key(Attribute.PRINCIPAL), values),))
    program = DecisionProgram(Protocol.HTTP, 8080, allow=(clause,), allow_applies=True)
    port = InboundPort("http", 8080, AppProtocol.HTTP, HERE, HERE, MtlsMode.STRICT, program)
    return ProxyPlan("shop/a", ("example.org",), PathNormalization.BASE, (port,), None, (), ())


def test_a_small_program_is_no_work_of_its_own() -> None:
    assert Compiler().heavy(a_plan(5)) == []


def test_a_large_one_is_and_once_it_is_done_it_is_not_done_again() -> None:
    compiler, plan = Compiler(), a_plan(5_000)
    (work,) = compiler.heavy(plan)
    (same,) = compiler.heavy(plan)
    assert work.key == same.key
    work.keep(work.run())
    assert compiler.heavy(plan) == []
    assert compiler.snapshot(plan) == compile_plan(plan)
