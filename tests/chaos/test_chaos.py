"""Short chaos runs: the product loses and doubles nothing, and the checker notices each product that would."""

from __future__ import annotations

import os

import pytest

from tests.chaos.nemesis import ChaosFault
from tests.chaos.proxy import ProxyFault
from tests.chaos.run import ChaosOptions, ChaosReport, run_chaos
from tests.chaos.variants import Variant

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(os.geteuid() != 0, reason="a small disk is mounted, which needs root"),
]

#: What brings each variant to light, on which database, and what the checker then says.
BROKEN = {
    Variant.ANY_200: ("sqlite", (ChaosFault.AGENT_STOP,), (ProxyFault.PORTAL,), "taken for delivered"),
    Variant.DELETE_BEFORE_SEND: ("sqlite", (ChaosFault.AGENT_KILL,), (ProxyFault.CUT,), "taken for delivered"),
    Variant.ACK_BEFORE_COMMIT: (
        "sqlite",
        (ChaosFault.COLLECTOR_KILL,),
        (ProxyFault.CUT,),
        "acknowledged and not in the journal",
    ),
    Variant.NO_DEDUP: ("sqlite", (ChaosFault.AGENT_STOP,), (ProxyFault.DUPLICATE,), "ledger that counts otherwise"),
    Variant.ASYNC_COMMIT: (
        "postgresql",
        (ChaosFault.POSTGRES_KILL,),
        (ProxyFault.CUT,),
        "acknowledged and not in the journal",
    ),
}


def problems(report: ChaosReport) -> str:
    return "\n".join([*report.verdict.violations.format_lines(), *report.verdict.missing.format_lines()])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_window_is_lost_or_duplicated(database: str) -> None:
    """Every fault fires once; every accepted window is in the store once with its value, or told as lost."""
    report = run_chaos(ChaosOptions(seconds=12, seed=1, database=database), print)

    assert report.is_good, report.format_text()
    assert report.verdict.counts["stored"] > 500


@pytest.mark.parametrize("variant", list(BROKEN))
def test_broken_product_is_detected(variant: Variant) -> None:
    """The variant is caught by a run of a few seconds, and for the reason it is broken."""
    database, faults, lies, said = BROKEN[variant]
    options = ChaosOptions(
        seconds=3, seed=1, database=database, variant=variant, faults=faults, proxy_faults=lies, drain_s=3
    )

    report = run_chaos(options, print)

    assert report.unfired == []
    assert said in problems(report), report.format_text()


def test_intact_product_passes_the_faults_of_the_variants() -> None:
    """Under the same few faults the unbroken product is found good."""
    report = run_chaos(
        ChaosOptions(
            seconds=3, seed=1, faults=(ChaosFault.AGENT_STOP,), proxy_faults=(ProxyFault.PORTAL, ProxyFault.DUPLICATE)
        ),
        print,
    )

    assert report.is_good, report.format_text()
