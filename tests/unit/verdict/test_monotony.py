"""Monotony of the second edition on random paths.

A laxer limit, a lower target and fewer bad minutes never make the word worse. The first edition failed in 64 of 150
random paths (63 days, 99.9 %).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leadline_verdict.decision import VerdictRule, classify_period
from leadline_verdict.document import VerdictClass
from leadline_verdict.first_edition.decision import classify_period as classify_by_first_edition
from leadline_verdict.pair import PairWindows, evaluate_pair
from leadline_verdict.rule_edition import RuleEdition
from leadline_verdict.states import MinuteMask
from tests.support.verdict_requests import classify_minutes, make_requirements
from tests.support.window_factories import DAY, build_columns, build_pair

#: The words, the worst first. Insufficient data are not one of them: all minutes are known.
WORDS = [
    VerdictClass.BEYOND,
    VerdictClass.BEYOND_PROVISIONAL,
    VerdictClass.MARGINAL,
    VerdictClass.WITHIN_PROVISIONAL,
    VerdictClass.WITHIN,
]
TARGETS = (0.9, 0.99, 0.995, 0.999)


@dataclass(frozen=True, slots=True)
class RandomPath:
    """p95 of every minute: a base of 4 ms, noise, and episodes of different kinds."""

    days: int
    p95_us: np.ndarray[tuple[int], np.dtype[np.int32]]

    def find_bad(self, limit_us: int) -> MinuteMask:
        """Return the minutes above a limit."""
        bad: MinuteMask = self.p95_us > limit_us
        return bad

    def build_pair(self) -> PairWindows:
        """Build windows with this p95."""
        columns = build_columns(self.days)
        for name in ("p95_us", "p99_us", "max_us"):
            columns[name][:] = self.p95_us
        return build_pair(columns)


def draw_path(seed: int, days: int) -> RandomPath:
    """Draw a path: rare long episodes, many short ones, bad days, office hours, or an always slow path."""
    rng = np.random.default_rng(seed)
    minutes = days * DAY
    p95 = 4_000 + rng.exponential(rng.choice([5, 60, 200]), minutes)
    for _ in range(rng.integers(0, 8)):
        start, length = rng.integers(0, minutes), int(rng.pareto(1.1) * rng.choice([2, 20]) + 1)
        p95[start : start + length] += rng.exponential(2_000)
    spread = rng.random(minutes) < rng.choice([0, 1e-4, 1e-3, 1e-2])
    p95[spread] += rng.exponential(1_500, np.count_nonzero(spread))
    if rng.random() < 0.3:
        for day in np.flatnonzero(rng.random(days) < rng.choice([0.1, 0.5, 1])):
            p95[day * DAY + 540 : day * DAY + 540 + int(rng.choice([5, 60, 480]))] += rng.exponential(1_000)
    if rng.random() < 0.2:
        p95 += rng.exponential(1_500)
    return RandomPath(days=days, p95_us=np.minimum(p95, 1e6).astype(np.int32))


paths = st.builds(draw_path, st.integers(0, 2**32 - 1), st.sampled_from([14, 20, 28, 63, 120]))


def rank(word: VerdictClass) -> int:
    """Return the place in the order of the words; ValueError for insufficient data."""
    return WORDS.index(word)


def choose_limits(path: RandomPath, count: int = 12) -> list[int]:
    """Return limits from strict to lax, most of them where few minutes are bad."""
    quantiles = 1 - np.geomspace(0.5, 1 / len(path.p95_us), count - 1)
    return sorted({*np.quantile(path.p95_us, quantiles).astype(int).tolist(), int(path.p95_us.max())})


def classify(bad: MinuteMask, target_share: float, **changed: slice | None) -> VerdictClass:
    return classify_minutes(bad, bad, VerdictRule(target_share=target_share), **changed)  # type: ignore[arg-type]


@given(path=paths, target_share=st.sampled_from(TARGETS))
def test_a_laxer_limit_never_makes_the_word_worse(path: RandomPath, target_share: float) -> None:
    """All limits from one that half of the minutes exceed to one that none does."""
    ranks = [rank(classify(path.find_bad(limit_us), target_share)) for limit_us in choose_limits(path)]

    assert ranks == sorted(ranks)


@given(path=paths, target_share=st.sampled_from(TARGETS), segment_days=st.integers(14, 20))
def test_the_last_segment_keeps_the_order(path: RandomPath, target_share: float, segment_days: int) -> None:
    """The minutes since a route change withdraw more at a stricter limit, never less."""
    last = slice((path.days - min(segment_days, path.days)) * DAY, path.days * DAY)
    ranks = [
        rank(classify(path.find_bad(limit_us), target_share, last_segment=last)) for limit_us in choose_limits(path, 8)
    ]

    assert ranks == sorted(ranks)


@given(path=paths)
def test_a_lower_target_never_makes_the_word_worse(path: RandomPath) -> None:
    """From 99.9 % down to 90 %."""
    for limit_us in choose_limits(path, 6):
        ranks = [
            rank(classify(path.find_bad(limit_us), target_share)) for target_share in sorted(TARGETS, reverse=True)
        ]
        assert ranks == sorted(ranks)


@given(
    path=paths,
    target_share=st.sampled_from(TARGETS),
    removed=st.lists(st.tuples(st.integers(0, 120 * DAY - 1), st.sampled_from([1, 1, 3, 60, DAY])), max_size=6),
    share=st.sampled_from([0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_fewer_bad_minutes_never_make_the_word_worse(
    path: RandomPath, target_share: float, removed: list[tuple[int, int]], share: float, seed: int
) -> None:
    """Whole ranges become good, then a random part of the rest."""
    rng = np.random.default_rng(seed)
    for limit_us in choose_limits(path, 4):
        more = path.find_bad(limit_us)
        fewer = more.copy()
        for first, length in removed:
            fewer[first % len(fewer) : first % len(fewer) + length] = False
        fewer &= rng.random(len(fewer)) >= share
        assert rank(classify(fewer, target_share)) >= rank(classify(more, target_share))


@given(path=paths, target_share=st.sampled_from(TARGETS))
def test_one_bad_minute_fewer_never_makes_the_word_worse(path: RandomPath, target_share: float) -> None:
    """The first, the last and a middle one."""
    bad = path.find_bad(choose_limits(path)[-3])
    positions = np.flatnonzero(bad)
    for index in {0, len(positions) // 2, len(positions) - 1} if len(positions) else set():
        fewer = bad.copy()
        fewer[positions[index]] = False
        assert rank(classify(fewer, target_share)) >= rank(classify(bad, target_share))


@given(path=paths, target_share=st.sampled_from(TARGETS), error_us=st.sampled_from([0, 20, 300]))
def test_windows_keep_the_order_of_p95_limits(path: RandomPath, target_share: float, error_us: int) -> None:
    """Limits of microseconds on windows with an own delay: worst and best case differ."""
    (criterion,) = make_requirements("p95 <= 5 ms").criteria
    pair = path.build_pair()
    series = replace(pair.series[0], error_p99_us=np.full(pair.minutes, error_us, dtype=np.int32))
    pair = replace(pair, paths=(replace(pair.paths[0], series=series),))
    rule = VerdictRule(target_share=target_share)

    ranks = [
        rank(classify_period(evaluate_pair(pair, [replace(criterion, limit_us=limit_us)]), rule).verdict_class)
        for limit_us in choose_limits(path, 8)
    ]

    assert ranks == sorted(ranks)


def test_the_first_edition_is_not_monotone() -> None:
    """Of 40 paths of 63 days, several get a better word at a stricter limit."""
    (criterion,) = make_requirements("p95 <= 5 ms").criteria
    rule = VerdictRule(edition=RuleEdition.FIRST, unseen_outage_windows=30, target_share=0.999)
    inversions = 0
    for seed in range(40):
        path = draw_path(seed, 63)
        pair = path.build_pair()
        ranks = [
            rank(
                classify_by_first_edition(
                    evaluate_pair(pair, [replace(criterion, limit_us=limit_us)], edition=RuleEdition.FIRST), rule
                ).verdict_class
            )
            for limit_us in choose_limits(path)
        ]
        inversions += any(later < earlier for earlier, later in pairwise(ranks))

    assert inversions >= 3
