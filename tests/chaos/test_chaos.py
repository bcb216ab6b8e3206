"""Short chaos runs: the product loses and doubles nothing, and the checker notices each product that would."""

from __future__ import annotations

import os

import pytest

from tests.chaos.nemesis import Fault
from tests.chaos.proxy import Lie
from tests.chaos.run import Options, Report, run
from tests.chaos.variants import Variant

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which needs root"),
]

#: What brings each variant to light, on which database, and what the checker then says.
BROKEN = {
    Variant.ANY_200: ("sqlite", (Fault.AGENT_STOP,), (Lie.PORTAL,), "taken for delivered"),
    Variant.DELETE_BEFORE_SEND: ("sqlite", (Fault.AGENT_KILL,), (Lie.CUT,), "taken for delivered"),
    Variant.ACK_BEFORE_COMMIT: ("sqlite", (Fault.COLLECTOR_KILL,), (Lie.CUT,), "acknowledged and not in the journal"),
    Variant.NO_DEDUP: ("sqlite", (Fault.AGENT_STOP,), (Lie.DUPLICATE,), "ledger that counts otherwise"),
    Variant.ASYNC_COMMIT: ("postgresql", (Fault.POSTGRES_KILL,), (Lie.CUT,), "acknowledged and not in the journal"),
}


def problems(report: Report) -> str:
    return "\n".join([*report.verdict.wrong.lines(), *report.verdict.missing.lines()])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_nothing_is_lost_and_nothing_is_there_twice(database: str) -> None:
    """Every fault fires once; every accepted window is in the store once with its value, or told as lost."""
    report = run(Options(seconds=12, seed=1, database=database), print)

    assert report.good, report.text()
    assert report.verdict.figures["stored"] > 500


@pytest.mark.parametrize("variant", list(BROKEN))
def test_a_broken_product_is_noticed(variant: Variant) -> None:
    """The variant is caught by a run of a few seconds, and for the reason it is broken."""
    database, faults, lies, said = BROKEN[variant]
    options = Options(seconds=3, seed=1, database=database, variant=variant, faults=faults, lies=lies, drain_s=3)

    report = run(options, print)

    assert report.silent == []
    assert said in problems(report), report.text()


def test_the_product_is_not_taken_for_a_variant() -> None:
    """Under the same few faults the unbroken product is found good."""
    report = run(Options(seconds=3, seed=1, faults=(Fault.AGENT_STOP,), lies=(Lie.PORTAL, Lie.DUPLICATE)), print)

    assert report.good, report.text()
