"""Short chaos runs: the product loses and duplicates nothing, and the checker detects each broken variant."""

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
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting the small disk needs root"),
]

#: For each variant: database, faults that expose it, and the expected text of the checker.
BROKEN = {
    Variant.ANY_200: ("sqlite", (ChaosFault.AGENT_STOP,), (ProxyFault.PORTAL,), "regarded as delivered"),
    Variant.DELETE_BEFORE_SEND: ("sqlite", (ChaosFault.AGENT_KILL,), (ProxyFault.CUT,), "regarded as delivered"),
    Variant.ACK_BEFORE_COMMIT: (
        "sqlite",
        (ChaosFault.COLLECTOR_KILL,),
        (ProxyFault.CUT,),
        "missing in the journal after a crash",
    ),
    Variant.NO_DEDUP: ("sqlite", (ChaosFault.AGENT_STOP,), (ProxyFault.DUPLICATE,), "wrong count in the ledger"),
    Variant.ASYNC_COMMIT: (
        "postgresql",
        (ChaosFault.POSTGRES_KILL,),
        (ProxyFault.CUT,),
        "missing in the journal after a crash",
    ),
}


def problems(report: ChaosReport) -> str:
    return "\n".join([*report.verdict.violations.format_lines(), *report.verdict.missing.format_lines()])


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_no_window_is_lost_or_duplicated(database: str) -> None:
    """Every fault is injected; every accepted window is stored once with its values, or reported as lost."""
    report = run_chaos(ChaosOptions(seconds=12, seed=1, database=database), print)

    assert report.is_good, report.format_text()
    assert report.verdict.counts["stored"] > 500


@pytest.mark.parametrize("variant", list(BROKEN))
def test_broken_product_is_detected(variant: Variant) -> None:
    """A run of a few seconds detects the variant for the expected reason."""
    database, faults, proxy_faults, expected_text = BROKEN[variant]
    options = ChaosOptions(
        seconds=3, seed=1, database=database, variant=variant, faults=faults, proxy_faults=proxy_faults, drain_s=3
    )

    report = run_chaos(options, print)

    assert report.unfired == []
    assert expected_text in problems(report), report.format_text()


def test_intact_product_passes_the_faults_of_the_variants() -> None:
    """The intact product passes a run with the same faults."""
    report = run_chaos(
        ChaosOptions(
            seconds=3, seed=1, faults=(ChaosFault.AGENT_STOP,), proxy_faults=(ProxyFault.PORTAL, ProxyFault.DUPLICATE)
        ),
        print,
    )

    assert report.is_good, report.format_text()
