"""Attempts to bend the second edition: single outages, idle paths, contradicted declarations, short assumptions."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from fractions import Fraction

import numpy as np
import pytest

from leadline.limits.catalogue import Comparison, load_catalogue
from leadline.mesh.model import DeclaredOutages
from leadline_verdict.decision import MissingPolicy
from leadline_verdict.document import VerdictClass
from leadline_verdict.loss import evaluate_loss
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import LossLimit, build_requirements
from leadline_verdict.series import make_empty_columns
from tests.support.verdict_requests import SECOND, build_document, compute_verdict, get_text, list_codes
from tests.support.window_factories import DAY, add_delay, build_columns, build_pair, lose_probes

BEYOND_CLASSES = {VerdictClass.BEYOND, VerdictClass.BEYOND_PROVISIONAL}
ONE_PERCENT = LossLimit(limit_id="loss", comparison=Comparison.LESS, ratio=Fraction(1, 100))


@pytest.mark.parametrize("strays", [(), (100, 20 * DAY)], ids=["alone", "with two bad minutes"])
@pytest.mark.parametrize(("first", "days", "period"), [(10 * DAY, 2, 28), (10 * DAY, 5, 63), (23 * 60, 3, 126)])
def test_one_outage_of_days_is_no_rate(first: int, days: int, period: int, strays: tuple[int, ...]) -> None:
    """Neither the share nor the loss is beyond because of one event."""
    columns = build_columns(period)
    lose_probes(columns, range(first, first + days * DAY))
    add_delay(columns, [minute for minute in strays if not first <= minute < first + days * DAY])
    pair = build_pair(columns)

    assert compute_verdict(pair).verdict not in BEYOND_CLASSES
    assert evaluate_loss(pair, ONE_PERCENT).finding != "above"


def make_idle_path(sent: int) -> dict[str, np.ndarray]:
    """Return a path whose windows have probes in the first hour only, or none at all."""
    columns, idle = build_columns(28), make_empty_columns(28 * DAY)
    for name, column in idle.items():
        column[:sent] = columns[name][:sent]
    idle["expected"][:] = 60
    return idle


@pytest.mark.parametrize("minutes", [0, 60])
def test_an_idle_path_excuses_no_loss(minutes: int) -> None:
    """A path that sends nothing, or for an hour, has no say about the other minutes."""
    lossy = build_columns(28)
    lose_probes(lossy, range(28 * DAY), lost=2)

    loss = evaluate_loss(build_pair(lossy, make_idle_path(minutes)), ONE_PERCENT)

    assert loss.finding == "above"


def test_another_path_hides_no_loss() -> None:
    """The worst case takes the path with the highest loss of each minute."""
    even, one_day = build_columns(28), build_columns(28)
    lose_probes(even, range(0, 28 * DAY, 72), lost=1)
    lose_probes(one_day, range(9 * DAY, 9 * DAY + 559), lost=1)
    limit = replace(ONE_PERCENT, ratio=Fraction(5, 10_000))

    alone, both = (evaluate_loss(build_pair(*paths), limit) for paths in ((one_day,), (even, one_day)))

    assert (alone.finding, both.finding) == ("not_demonstrable_yet", "not_demonstrable_yet")
    assert both.high is not None
    assert alone.high is not None
    assert both.high >= alone.high


def test_an_observed_loss_above_its_limit_is_never_within() -> None:
    """9 of 60 lost on three days in a row are 1.6 %, although that is not certain in the long run."""
    columns = build_columns(28)
    lose_probes(columns, range(3 * DAY, 6 * DAY), lost=9)

    verdict = compute_verdict(build_pair(columns), "p50 <= 5 ms", "loss < 0.1 %")

    assert (verdict.verdict, list_codes(verdict)[0]) == (VerdictClass.MARGINAL, "loss_not_demonstrable_yet")


def test_excused_minutes_count_in_no_average_of_the_best_case() -> None:
    """An average of 24 hours whose losses are all in minutes in which the target's agents were silent."""
    columns = build_columns(28)
    minutes = [day * DAY + minute for day in range(0, 28, 3) for minute in range(28)]
    lose_probes(columns, minutes)
    pair = build_pair(columns)
    ambiguous = np.zeros_like(pair.ambiguous_minutes)
    ambiguous[minutes] = True
    catalogue = load_catalogue()
    requirements = build_requirements(catalogue, catalogue.get_profile("hp-continuous-access-loss-low"))

    document = build_document(replace(pair, ambiguous_minutes=ambiguous), requirements=requirements)

    assert document.pairs[0].verdict not in BEYOND_CLASSES


class TestDeclaredOutages:
    @staticmethod
    def declare(pair: PairWindows, outages_per_year: float, longest_outage_s: int) -> PairWindows:
        outages = DeclaredOutages(
            outages_per_year=outages_per_year, longest_outage_s=longest_outage_s, declared_on=date(2026, 9, 1)
        )
        return replace(pair, declared_outages=outages)

    def test_an_answered_minute_does_not_divide_an_outage(self) -> None:
        """Three hours without a reply, except one minute in ten."""
        columns = build_columns(40)
        lose_probes(columns, [5_000 + minute for minute in range(180) if minute % 10])

        verdict = compute_verdict(self.declare(build_pair(columns), 1, 600), target_share=0.98)

        assert verdict.declared_outages
        assert verdict.declared_outages.used is False
        assert "declaration_contradicted" in list_codes(verdict)
        assert get_text(verdict, "observed_outages") == "the path was down 1 time, the longest for 179 min"

    def test_far_more_outages_than_declared_contradict_it(self) -> None:
        """40 outages of ten minutes in 40 days against one in a thousand years."""
        columns = build_columns(40)
        lose_probes(columns, [day * DAY + minute for day in range(40) for minute in range(10)])

        verdict = compute_verdict(self.declare(build_pair(columns), 0.001, 600), target_share=0.98)

        assert verdict.declared_outages
        assert verdict.declared_outages.used is False


def test_a_short_assumed_outage_is_provisional() -> None:
    """28 clean days hold with an unseen outage of one minute, which says little."""
    verdict = compute_verdict(build_pair(build_columns(28)), rule=replace(SECOND, unseen_outage_windows=1))

    assert (verdict.verdict, "short_unseen_outage" in list_codes(verdict)) == (VerdictClass.WITHIN_PROVISIONAL, True)


def test_losses_do_not_hide_latency_in_the_first_sentence() -> None:
    """Every reply took 500 ms, and 4 of 60 probes were lost in every minute."""
    columns = build_columns(28, 500_000)
    lose_probes(columns, range(28 * DAY), lost=4)

    text = get_text(compute_verdict(build_pair(columns), "p95 <= 150 ms"), "causes")

    assert "by latency" not in text


def test_left_out_minutes_make_nothing_beyond() -> None:
    """Unknown minutes count as good for "beyond", also with ``missing = mar``."""
    columns = build_columns(28)
    lose_probes(columns, [day * DAY + minute for day in range(0, 28, 2) for minute in range(29)])
    pair = build_pair(columns)
    for name, column in make_empty_columns(1).items():
        columns[name][20_000:20_400] = column[0]
    explained = pair.explained_minutes.copy()
    explained[20_000:20_400] = True
    left_out = build_pair(columns)

    verdicts = [
        compute_verdict(replace(left_out, explained_minutes=explained), rule=replace(SECOND, missing_policy=policy))
        for policy in MissingPolicy
    ]

    highs = [verdict.shares.optimistic.interval.high for verdict in verdicts if verdict.shares.optimistic.interval]
    assert highs[0] == highs[1]


def test_a_worse_pair_does_not_improve_a_set() -> None:
    """A barely beyond pair beside one that is clearly beyond, provisionally: the set is the latter."""
    barely, clearly, clean = build_columns(28), build_columns(28), build_columns(28)
    add_delay(barely, [day * DAY + minute for day in range(0, 28, 2) for minute in range(30)])
    for name, column in make_empty_columns(1).items():
        clearly[name][: 20 * DAY] = column[0]
    add_delay(clearly, range(20 * DAY, 28 * DAY))
    sites = ("ams", "fra", "zrh", "vie")
    windows = {("fra", "zrh"): barely, ("fra", "vie"): clearly}
    pairs = [
        replace(build_pair(windows.get((a, b), clean)), source=a, destination=b) for a in sites for b in sites if a != b
    ]

    (found,) = build_document(*pairs).sets

    assert (found.verdict, found.decided_by) == (VerdictClass.BEYOND_PROVISIONAL, ["fra", "vie"])
