"""What a verdict asks: limits of the catalogue, changed, added to, and vouched for."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest

from leadline.errors import ConfigError
from leadline.evaluation import WindowStatistic
from leadline.limits.catalogue import Comparison, load_catalogue
from leadline_verdict.requirements import (
    EvaluationMethod,
    LimitOverrides,
    RequirementOrigin,
    RequirementSet,
    build_requirements,
    parse_assignments,
    parse_custom_limit,
)

BANDWIDTH = "vmware-vsphere-6.5-vmotion-bandwidth"
VMOTION = "vmware-vsphere-8.0-long-distance-vmotion-rtt"


def asked(profile: str, **wishes: object) -> RequirementSet:
    known = load_catalogue()
    chosen = LimitOverrides(**{"values": {}, "declared_values": {}, **wishes})  # type: ignore[arg-type]
    return build_requirements(known, known.get_profile(profile), chosen)


@pytest.mark.parametrize("limit_id", sorted(load_catalogue().limits))
def test_every_limit_of_the_catalogue_is_judged_somehow_or_says_why_not(limit_id: str) -> None:
    """By windows, by loss, or not, and then with a reason; nothing is silently met."""
    (item,) = asked(limit_id).items

    assert (item.criterion is not None) + (item.loss_limit is not None) + (item.reason is not None) == 1
    assert (item.method is EvaluationMethod.NOT_EVALUATED) == (item.reason is not None)


def test_what_is_declared_is_held_against_the_limit() -> None:
    """250 Mbit/s or more: enough, too little, or nobody knows."""
    holds = [
        next(
            item
            for item in asked("vsphere-long-distance-vmotion", declared_values=declared).items
            if item.limit_id == BANDWIDTH
        )
        for declared in ({}, {BANDWIDTH: Decimal(250)}, {BANDWIDTH: Decimal(249)})
    ]

    assert [item.is_declared_met for item in holds] == [None, True, False]
    assert [item.limit_id for item in asked("vsphere-long-distance-vmotion").iter_undeclared()] == [BANDWIDTH]


def test_another_number_is_judged_and_the_catalogues_is_shown() -> None:
    """The id stays, the number does not."""
    item = asked("vsphere-long-distance-vmotion", values={VMOTION: Decimal("12.5")}).items[0]

    assert (item.origin, item.text, item.catalogue_text) == (RequirementOrigin.OVERRIDDEN, "<= 12.5 ms", "<= 150 ms")
    assert item.criterion is not None
    assert item.criterion.limit_us == 12_500


def test_a_loss_limit_keeps_the_time_it_is_averaged_over() -> None:
    """A day for one vendor, nothing said by another."""
    (day,) = asked("hp-continuous-access-loss-high").loss_limits
    (nothing,) = asked("netapp-metrocluster-ip-loss").loss_limits

    assert (day.ratio, day.window_s) == (Fraction(2, 1_000), 86_400)
    assert (nothing.ratio, nothing.window_s) == (Fraction(1, 10_000), None)


@pytest.mark.parametrize(
    ("text", "measure", "comparison", "limit_us"),
    [
        ("p95 <= 8 ms", WindowStatistic.P95, Comparison.LESS_EQUAL, 8_000),
        ("max<2.5ms", WindowStatistic.MAX, Comparison.LESS, 2_500),
        ("pdv < 300 us", WindowStatistic.PDV, Comparison.LESS, 300),
        ("p95 + pdv <= 10 ms", WindowStatistic.P95_PLUS_PDV, Comparison.LESS_EQUAL, 10_000),
    ],
)
def test_a_limit_of_the_users_own(text: str, measure: WindowStatistic, comparison: Comparison, limit_us: int) -> None:
    """As people write them."""
    criterion = parse_custom_limit(text).criterion

    assert criterion is not None
    assert (criterion.statistic, criterion.comparison, criterion.limit_us) == (measure, comparison, limit_us)


def test_a_loss_of_the_users_own() -> None:
    """Exactly, as a fraction."""
    loss = parse_custom_limit("loss < 0.1 %").loss_limit

    assert loss is not None
    assert (loss.ratio, loss.comparison) == (Fraction(1, 1_000), Comparison.LESS)


@pytest.mark.parametrize(
    "text",
    [
        "", "8 ms", "p95 8 ms", "p95 <= 8", "p95 <= 8 %", "loss < 1 ms", "p95 <= 0 ms", "p95 <= 0.0001 ms",
        "loss < 0 %", "loss < 100 %", "p90 <= 8 ms",
    ],
)  # fmt: skip
def test_what_is_no_limit_is_refused(text: str) -> None:
    """With the text that was given and one that works, or why not."""
    with pytest.raises(ConfigError, match="limit: "):
        parse_custom_limit(text)


@pytest.mark.parametrize("text", ["x", "x=", "=1", "x=y", "x=-1", "x=NaN", "x=Infinity"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    """Without a wrong number slipping through; an empty id fits no limit later."""
    with pytest.raises(ConfigError):
        build_requirements(
            load_catalogue(),
            load_catalogue().get_profile("vsan-stretched"),
            LimitOverrides(values=parse_assignments("override", [text]), declared_values={}),
        )


def test_a_number_twice_is_refused() -> None:
    """Nobody knows which was meant."""
    with pytest.raises(ConfigError, match="give each id once"):
        parse_assignments("declare", ["a=1", "a=2"])


def test_without_profile_and_limit_there_is_nothing_to_ask() -> None:
    """The error says what to name."""
    with pytest.raises(ConfigError, match="give a profile or a custom limit"):
        build_requirements(load_catalogue(), None)
