"""The demo's simulated month: the verdict of each pair before and after compaction, and from a file."""

from __future__ import annotations

import io

import msgspec
import pytest

from leadline import evaluation
from leadline.limits.catalogue import load_catalogue
from leadline.mesh.parser import parse_mesh
from leadline_cli.commands.demo import HISTORY_DAYS, SEED, build_mesh_toml
from leadline_collector.analysis.verdicts import VerdictRequest, compute_verdicts, load_verdict_windows
from leadline_collector.db.transactions import Store
from leadline_collector.demo.simulation import simulate_windows
from leadline_collector.mesh import service as mesh_service
from leadline_collector.rollup.worker import run_compaction
from leadline_collector.time_range import TimeRange
from leadline_verdict import csv_exchange
from leadline_verdict.decision import VerdictRule
from leadline_verdict.document import PairVerdict, VerdictClass, VerdictDocument
from leadline_verdict.report import ReportParams, build_report
from leadline_verdict.requirements import NO_OVERRIDES, build_requirements
from tests.support.clock import FakeClock

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: 2026-10-25 00:00 UTC and 28 days on.
START_S, END_S = 1_792_886_400, 1_792_886_400 + HISTORY_DAYS * 86_400
STORAGE, CLUSTER, VMOTION = "vsan-stretched", "vcf9-stretched-cluster", "vsphere-long-distance-vmotion"
CITIES = ("frankfurt", "zurich", "amsterdam", "london", "new-york", "singapore")
#: Verdict and reasons, the most severe first. Both directions share the fibre; only the unknown minutes differ.
EXPECTED = {
    ("frankfurt", "zurich", STORAGE): ("beyond", ["causes", "share_below_target"]),
    ("frankfurt", "zurich", CLUSTER): (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages"],
    ),
    ("frankfurt", "zurich", VMOTION): (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages", "not_vouched_for"],
    ),
    ("frankfurt", "amsterdam", STORAGE): ("beyond", ["causes", "share_below_target"]),
    ("frankfurt", "amsterdam", CLUSTER): (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages"],
    ),
    ("frankfurt", "amsterdam", VMOTION): (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages", "not_vouched_for"],
    ),
    ("frankfurt", "london", STORAGE): ("impossible_on_glass_fibre", ["floor_above_limit", "measured_says"]),
    ("frankfurt", "london", CLUSTER): ("beyond", ["causes", "share_below_target"]),
    ("frankfurt", "london", VMOTION): ("marginal", ["causes", "undecided"]),
    ("zurich", "frankfurt", STORAGE): ("insufficient_data", ["unknown_decides", "dates", "causes"]),
    ("zurich", "frankfurt", CLUSTER): (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages"],
    ),
    ("zurich", "frankfurt", VMOTION): (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages", "not_vouched_for"],
    ),
    ("zurich", "amsterdam", STORAGE): ("impossible_on_glass_fibre", ["floor_above_limit", "measured_says"]),
    ("zurich", "amsterdam", CLUSTER): ("beyond", ["causes", "share_below_target"]),
    ("zurich", "amsterdam", VMOTION): (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages", "not_vouched_for"],
    ),
    ("zurich", "london", STORAGE): ("impossible", ["floor_above_limit", "measured_says"]),
    ("zurich", "london", CLUSTER): ("beyond", ["causes", "share_below_target"]),
    ("zurich", "london", VMOTION): ("marginal", ["causes", "undecided"]),
    ("amsterdam", "frankfurt", STORAGE): ("beyond", ["causes", "share_below_target"]),
    ("amsterdam", "frankfurt", CLUSTER): ("insufficient_data", ["unknown_decides", "dates", "causes"]),
    ("amsterdam", "frankfurt", VMOTION): ("insufficient_data", ["unknown_decides", "dates", "causes"]),
    ("amsterdam", "zurich", STORAGE): ("impossible_on_glass_fibre", ["floor_above_limit", "measured_says"]),
    ("amsterdam", "zurich", CLUSTER): ("beyond", ["causes", "share_below_target"]),
    ("amsterdam", "zurich", VMOTION): ("insufficient_data", ["unknown_decides", "dates", "causes"]),
    ("amsterdam", "london", STORAGE): ("beyond", ["causes", "share_below_target"]),
    ("amsterdam", "london", CLUSTER): ("marginal", ["causes", "undecided"]),
    ("amsterdam", "london", VMOTION): ("marginal", ["causes", "undecided"]),
    ("london", "frankfurt", STORAGE): ("impossible_on_glass_fibre", ["floor_above_limit", "measured_says"]),
    ("london", "frankfurt", CLUSTER): ("beyond", ["causes", "share_below_target"]),
    ("london", "frankfurt", VMOTION): ("marginal", ["causes", "undecided"]),
    ("london", "zurich", STORAGE): ("impossible", ["floor_above_limit", "measured_says"]),
    ("london", "zurich", CLUSTER): ("beyond", ["causes", "share_below_target"]),
    ("london", "zurich", VMOTION): ("marginal", ["causes", "undecided"]),
    ("london", "amsterdam", STORAGE): ("beyond", ["causes", "share_below_target"]),
    ("london", "amsterdam", CLUSTER): ("marginal", ["causes", "undecided"]),
    ("london", "amsterdam", VMOTION): ("marginal", ["causes", "undecided"]),
    ("frankfurt", "new-york", STORAGE): ("impossible", ["floor_above_limit", "measured_says"]),
    ("frankfurt", "new-york", CLUSTER): ("impossible", ["floor_above_limit", "measured_says"]),
    ("frankfurt", "new-york", VMOTION): (
        "within_provisional",
        ["causes", "tipping_point", "share_demonstrated", "share_when_up", "observed_outages", "not_vouched_for"],
    ),
    ("new-york", "frankfurt", STORAGE): ("impossible", ["floor_above_limit", "measured_says"]),
    ("new-york", "frankfurt", CLUSTER): ("impossible", ["floor_above_limit", "measured_says"]),
    ("new-york", "frankfurt", VMOTION): ("insufficient_data", ["unknown_decides", "dates", "causes"]),
    ("frankfurt", "singapore", STORAGE): ("impossible", ["floor_above_limit", "measured_says"]),
    ("frankfurt", "singapore", CLUSTER): ("impossible", ["floor_above_limit", "measured_says"]),
    ("frankfurt", "singapore", VMOTION): ("beyond", ["causes", "share_below_target"]),
    ("singapore", "frankfurt", STORAGE): ("impossible", ["floor_above_limit", "measured_says"]),
    ("singapore", "frankfurt", CLUSTER): ("impossible", ["floor_above_limit", "measured_says"]),
    ("singapore", "frankfurt", VMOTION): ("beyond", ["causes", "share_below_target"]),
}


def build_request(*profiles: str) -> VerdictRequest:
    return VerdictRequest(
        period=TimeRange(start_s=START_S, end_s=END_S),
        pair=None,
        sites=CITIES,
        profiles=profiles,
        overrides=NO_OVERRIDES,
        rule=VerdictRule(),
    )


@pytest.fixture(name="month")
def _month(store: Store) -> Store:
    """The demo's cities over a fixed month."""
    clock = FakeClock(wall_ns=END_S * 1_000_000_000)
    version = mesh_service.apply_mesh(store, clock, build_mesh_toml().encode()).version
    simulate_windows(store, parse_mesh(build_mesh_toml()), version, START_S, END_S, SEED, lambda _: None)
    return store


def summarise(document: VerdictDocument) -> dict[tuple[str, str, str], tuple[str, list[str]]]:
    """Return verdict and reason codes of each pair, without notes."""
    return {
        (pair.source, pair.destination, pair.profile): (
            pair.verdict.value,
            [reason.code for reason in pair.reasons if reason.code not in {"simulated", "weak_limits"}],
        )
        for pair in document.pairs
    }


def test_every_pair_of_the_demo_gets_its_verdict(month: Store) -> None:
    """Verdicts are equal before and after compaction and from the exported file, and agree with the minutes."""
    before = compute_verdicts(month, build_request())
    assert summarise(before) == EXPECTED
    for pair_verdict in before.pairs:
        assert_claim_is_true(pair_verdict)

    run_compaction(month, FakeClock(wall_ns=(END_S + 86_400) * 1_000_000_000))
    assert compute_verdicts(month, build_request()) == before

    pairs, mesh = load_verdict_windows(month, build_request())
    file = io.StringIO()
    csv_exchange.write_windows(file, pairs, mesh.sites)
    file.seek(0)
    windows = csv_exchange.read_windows(file)
    profiles = [
        build_requirements(load_catalogue(), load_catalogue().get_profile(name)) for name in (STORAGE, CLUSTER, VMOTION)
    ]
    params = ReportParams(
        start_s=START_S,
        end_s=END_S,
        rule=VerdictRule(),
        profiles=profiles,
        catalogue_digest=load_catalogue().digest,
        mesh_version=1,
    )
    again = build_report(params, ((pair, profiles) for pair in windows.pairs))
    assert msgspec.json.encode(again) == msgspec.json.encode(before)


def assert_claim_is_true(pair: PairVerdict) -> None:
    """Compare a verdict with the observed share: all minutes are known here except for the agents' outages."""
    target = evaluation.TARGET_SHARE_DEFAULT
    observed = pair.shares.observed
    assert observed is not None
    if pair.verdict in {VerdictClass.WITHIN, VerdictClass.WITHIN_PROVISIONAL}:
        assert observed > target
    if pair.verdict is VerdictClass.BEYOND:
        assert observed < target
    if pair.verdict in {VerdictClass.IMPOSSIBLE, VerdictClass.IMPOSSIBLE_ON_GLASS_FIBRE}:
        assert observed == 0
