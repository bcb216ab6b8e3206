"""Loss over the period, second edition: days are counted, because losses come in bursts."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from leadline.limits.catalogue import Comparison
from leadline_verdict.document import LossSection, VerdictClass
from leadline_verdict.loss import evaluate_loss
from leadline_verdict.pair import PairWindows
from leadline_verdict.requirements import LossLimit
from leadline_verdict.series import IntColumn
from tests.support.verdict_requests import compute_verdict, get_text, list_codes
from tests.support.window_factories import DAY, build_columns, build_pair, lose_probes

LIMITS = ("p50 <= 5 ms", "loss <= 0.01 %")


def evaluate(pair: PairWindows, ratio: Fraction = Fraction(1, 10_000)) -> LossSection:
    return evaluate_loss(pair, LossLimit(limit_id="loss", comparison=Comparison.LESS_EQUAL, ratio=ratio))


def test_one_dark_day_is_no_rate() -> None:
    """3.6 % of the probes of 28 days are lost, all on one day: one event, not a loss of 0.01 %."""
    columns = build_columns(28)
    lose_probes(columns, range(9 * DAY, 10 * DAY))
    pair = build_pair(columns)

    loss = evaluate(pair)

    assert (loss.finding, loss.low, loss.days_with_loss) == ("not_demonstrable_yet", 0.0, 1)
    assert compute_verdict(pair, *LIMITS, target_share=0.9).verdict is VerdictClass.MARGINAL


@pytest.mark.parametrize(
    ("days", "finding"),
    [
        ((2, 9, 16), "not_demonstrable_yet"),
        ((2, 3, 4, 5, 6), "not_demonstrable_yet"),
        ((2, 6, 10, 14), "not_demonstrable_yet"),
        ((2, 6, 10, 14, 18), "above"),
    ],
    ids=["three days", "five days in a row", "four separate days", "five separate days"],
)
def test_three_days_besides_the_two_worst_make_a_rate(days: tuple[int, ...], finding: str) -> None:
    """An hour of 12 % loss on each of them."""
    columns = build_columns(28)
    lose_probes(columns, [day * DAY + minute for day in days for minute in range(60)], lost=7)

    assert evaluate(build_pair(columns), Fraction(1, 1_000_000)).finding == finding


def test_a_month_without_loss_is_below() -> None:
    """The bound of 28 days is 0.0002 %."""
    loss = evaluate(build_pair(build_columns(28)))

    assert (loss.finding, loss.probes_needed, loss.lost, loss.days_with_loss) == ("below", 0, 0, 0)
    assert loss.high is not None
    assert loss.high < 2.5e-6


def test_a_single_day_counts_probes() -> None:
    """It has no variance between days: the exact binomial bound of 86,400 probes is 0.0043 %."""
    loss = evaluate(build_pair(build_columns(1)))

    assert loss.high == pytest.approx(4.27e-5, rel=1e-3)


def test_the_path_with_the_least_loss_decides_above() -> None:
    """One path of two loses 0.05 %, the other nothing: the loss may be that of one target."""
    lossy = build_columns(28)
    lose_probes(lossy, range(0, 28 * DAY, 33), lost=1)

    assert evaluate(build_pair(lossy)).finding == "above"
    both = evaluate(build_pair(lossy, build_columns(28)))
    assert (both.finding, both.lost) == ("not_demonstrable_yet", 1_222)


def make_lossy() -> dict[str, IntColumn]:
    """Build 28 days with an outage of five minutes and nine single losses on other days."""
    columns = build_columns(28)
    lose_probes(columns, range(9 * DAY, 9 * DAY + 5))
    lose_probes(columns, [day * DAY + 77 for day in (1, 4, 7, 10, 13, 16, 19, 22, 25)], lost=1)
    return columns


def test_both_losses_are_printed() -> None:
    """With and without the outage minutes, for a loss that is not demonstrable and for one above the limit."""
    verdict = compute_verdict(build_pair(make_lossy()), *LIMITS)

    assert get_text(verdict, "loss_not_demonstrable_yet").startswith(
        "309 of 2,419,200 probes were lost on 10 days, 9 of them outside outage minutes: at most "
    )
    above = compute_verdict(build_pair(make_lossy()), "p50 <= 5 ms", "loss <= 0.0001 %")
    assert get_text(above, "loss_above_limit").startswith(
        "309 of 2,419,200 probes were lost on 10 days, 9 of them outside outage minutes: at least "
    )


def test_the_probes_needed_demonstrate_the_limit() -> None:
    """Further days without a loss with this number of probes, and not one day less."""
    loss = evaluate(build_pair(make_lossy()))
    days, rest = divmod(loss.probes_needed, 60 * DAY)
    assert (days > 0, rest) == (True, 0)

    longer = build_columns(28 + days)
    for name, column in make_lossy().items():
        longer[name][: 28 * DAY] = column

    assert evaluate(build_pair(longer)).finding == "below"
    one_less = {name: column[:-DAY] for name, column in longer.items()}
    assert evaluate(build_pair(one_less)).finding == "not_demonstrable_yet"


def test_a_loss_above_its_limit_comes_before_the_minutes() -> None:
    """All minutes are within the limit on the median, so the loss is the cause."""
    columns = build_columns(28)
    lose_probes(columns, range(0, 28 * DAY, 33), lost=1)

    assert list_codes(compute_verdict(build_pair(columns), *LIMITS)) == ["loss_above_limit", "causes"]


def test_ambiguous_minutes_are_no_loss_in_the_best_case() -> None:
    """Reboots of the target on six days; the worst case counts them."""
    columns = build_columns(28)
    minutes = [day * DAY + minute for day in range(2, 28, 5) for minute in range(20)]
    lose_probes(columns, minutes)
    pair = build_pair(columns)
    ambiguous = pair.ambiguous_minutes.copy()
    ambiguous[minutes] = True

    excused = evaluate(replace(pair, ambiguous_minutes=ambiguous))

    assert evaluate(pair).finding == "above"
    assert (excused.finding, excused.lost) == ("not_demonstrable_yet", 7_200)
