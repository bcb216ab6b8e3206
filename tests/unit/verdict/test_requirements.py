"""Requirements: limits of the catalogue, overrides, declared values and custom limits."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from leadline.errors import ConfigError
from leadline.evaluation import WindowStatistic
from leadline.limits.catalogue import Comparison, load_catalogue
from leadline.mesh.model import DeclaredOutages
from leadline_verdict.pair import declare_outages
from leadline_verdict.requirements import (
    Declarations,
    EvaluationMethod,
    LimitOverrides,
    RequirementOrigin,
    RequirementSet,
    build_requirements,
    parse_assignments,
    parse_custom_limit,
    parse_declarations,
)
from tests.support.window_factories import build_pair

BANDWIDTH = "vmware-vsphere-6.5-vmotion-bandwidth"
TODAY = date(2026, 11, 22)
VMOTION = "vmware-vsphere-8.0-long-distance-vmotion-rtt"


def requirements_of(profile: str, **overrides: object) -> RequirementSet:
    catalogue = load_catalogue()
    limit_overrides = LimitOverrides(**{"values": {}, "declared_values": {}, **overrides})  # type: ignore[arg-type]
    return build_requirements(catalogue, catalogue.get_profile(profile), limit_overrides)


@pytest.mark.parametrize("limit_id", sorted(load_catalogue().limits))
def test_every_limit_of_the_catalogue_has_a_method_or_a_reason(limit_id: str) -> None:
    """By windows, by loss, or not evaluated with a reason."""
    (requirement,) = requirements_of(limit_id).items

    assert (requirement.criterion is not None) + (requirement.loss_limit is not None) + (
        requirement.reason is not None
    ) == 1
    assert (requirement.method is EvaluationMethod.NOT_EVALUATED) == (requirement.reason is not None)


def test_a_declared_value_is_compared_with_the_limit() -> None:
    """250 Mbit/s or more: undeclared, enough, too little."""
    requirements = [
        next(
            requirement
            for requirement in requirements_of("vsphere-long-distance-vmotion", declared_values=declared).items
            if requirement.limit_id == BANDWIDTH
        )
        for declared in ({}, {BANDWIDTH: Decimal(250)}, {BANDWIDTH: Decimal(249)})
    ]

    assert [requirement.is_declared_met for requirement in requirements] == [None, True, False]
    assert [
        requirement.limit_id for requirement in requirements_of("vsphere-long-distance-vmotion").iter_undeclared()
    ] == [BANDWIDTH]


def test_an_overridden_limit_keeps_its_id_and_the_catalogue_text() -> None:
    """Windows are evaluated with the new value."""
    requirement = requirements_of("vsphere-long-distance-vmotion", values={VMOTION: Decimal("12.5")}).items[0]

    assert (requirement.origin, requirement.text, requirement.catalogue_text) == (
        RequirementOrigin.OVERRIDDEN,
        "<= 12.5 ms",
        "<= 150 ms",
    )
    assert requirement.criterion is not None
    assert requirement.criterion.limit_us == 12_500


def test_a_loss_limit_has_the_averaging_time_of_the_vendor() -> None:
    """One vendor averages over a day, another names no time."""
    (day,) = requirements_of("hp-continuous-access-loss-high").loss_limits
    (period,) = requirements_of("netapp-metrocluster-ip-loss").loss_limits

    assert (day.ratio, day.window_s) == (Fraction(2, 1_000), 86_400)
    assert (period.ratio, period.window_s) == (Fraction(1, 10_000), None)


@pytest.mark.parametrize(
    ("text", "statistic", "comparison", "limit_us"),
    [
        ("p95 <= 8 ms", WindowStatistic.P95, Comparison.LESS_EQUAL, 8_000),
        ("max<2.5ms", WindowStatistic.MAX, Comparison.LESS, 2_500),
        ("pdv < 300 us", WindowStatistic.PDV, Comparison.LESS, 300),
        ("p95 + pdv <= 10 ms", WindowStatistic.P95_PLUS_PDV, Comparison.LESS_EQUAL, 10_000),
    ],
)
def test_custom_limits_are_parsed(text: str, statistic: WindowStatistic, comparison: Comparison, limit_us: int) -> None:
    """Statistics, comparisons and units, with and without spaces."""
    criterion = parse_custom_limit(text).criterion

    assert criterion is not None
    assert (criterion.statistic, criterion.comparison, criterion.limit_us) == (statistic, comparison, limit_us)


def test_a_custom_loss_limit_is_an_exact_fraction() -> None:
    """0.1 % is 1/1000."""
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
def test_invalid_custom_limits_are_refused(text: str) -> None:
    """The error names the option."""
    with pytest.raises(ConfigError, match="limit: "):
        parse_custom_limit(text)


@pytest.mark.parametrize("text", ["x", "x=", "=1", "x=y", "x=-1", "x=NaN", "x=Infinity"])
def test_invalid_assignments_are_refused(text: str) -> None:
    """Invalid numbers are refused by the parser, unknown ids by the requirements."""
    with pytest.raises(ConfigError):
        build_requirements(
            load_catalogue(),
            load_catalogue().get_profile("vsan-stretched"),
            LimitOverrides(values=parse_assignments("override", [text]), declared_values={}),
        )


def test_a_duplicate_assignment_is_refused() -> None:
    """Two values for one id are ambiguous."""
    with pytest.raises(ConfigError, match="give each id once"):
        parse_assignments("declare", ["a=1", "a=2"])


def test_outages_are_declared_beside_the_values_of_limits() -> None:
    """The two names are no limits; the declaration has the date of the request."""
    texts = ["longest_outage=12h", "vmware-vsphere-6.5-vmotion-bandwidth=250", "outages_per_year=0.5"]

    declarations = parse_declarations(texts, TODAY)

    assert declarations.values == {"vmware-vsphere-6.5-vmotion-bandwidth": 250}
    assert declarations.outages == DeclaredOutages(outages_per_year=0.5, longest_outage_s=43_200, declared_on=TODAY)


def test_without_the_two_names_no_outages_are_declared() -> None:
    """Values of limits alone declare no outages."""
    assert parse_declarations(["a=1"], TODAY) == Declarations(values={"a": Decimal(1)}, outages=None)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["outages_per_year=2"], "outages_per_year=2 is incomplete: declare both, with for example longest_outage=12h"),
        (["longest_outage=4h"], "longest_outage=4h is incomplete: declare both, with for example outages_per_year=0.5"),
        (["outages_per_year=2", "longest_outage=4"], "'4' is not a duration: write a number and a unit"),
        (["outages_per_year=2", "longest_outage="], "'' is not a duration: write a number and a unit"),
        (["outages_per_year=2", "longest_outage"], "'' is not a duration: write a number and a unit"),
        (["outages_per_year=2", "longest_outage=4h", "longest_outage=5h"], "longest_outage is given 2 times"),
        (["outages_per_year=2", "outages_per_year=2", "longest_outage=4h"], "give each id once"),
        (["outages_per_year=x", "longest_outage=4h"], "'outages_per_year=x' is not ID=NUMBER"),
        (["outages_per_year=0", "longest_outage=4h"], "outages_per_year = 0 is not a number above 0"),
        (["outages_per_year=1e999", "longest_outage=4h"], "outages_per_year = inf is not a number above 0"),
        (["outages_per_year=2", "longest_outage=30s"], "longest_outage = 30s is not from 1m to 365d"),
        (["outages_per_year=12", "longest_outage=31d"], "are more than a year of outages in a year"),
    ],
)
def test_invalid_declared_outages_are_refused(texts: list[str], message: str) -> None:
    """The error names the option, the value and the remedy."""
    with pytest.raises(ConfigError, match="declare: ") as caught:
        parse_declarations(texts, TODAY)

    assert message in str(caught.value)


def test_declared_outages_of_a_request_replace_those_of_the_pairs() -> None:
    """Without a declaration in the request the pairs keep their own."""
    own = DeclaredOutages(outages_per_year=1, longest_outage_s=3_600, declared_on=TODAY)
    requested = replace(own, outages_per_year=4)
    pairs = [replace(build_pair(), declared_outages=own), build_pair()]

    assert [pair.declared_outages for pair in declare_outages(pairs, None)] == [own, None]
    assert [pair.declared_outages for pair in declare_outages(pairs, requested)] == [requested, requested]


def test_a_profile_or_a_custom_limit_is_required() -> None:
    """The error names both."""
    with pytest.raises(ConfigError, match="give a profile or a custom limit"):
        build_requirements(load_catalogue(), None)
