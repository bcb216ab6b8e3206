"""Scenarios of the simulation: a path, the days of a campaign, and the operator's declaration."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from functools import partial

from leadline.mesh.model import DeclaredOutages
from tests.simulate.outages import OutagePath, ParetoOutagePath, PeriodicOutagePath
from tests.simulate.paths import (
    DAY,
    AutocorrelatedPath,
    BadTime,
    BurstyPath,
    DiurnalPath,
    ExcursionPath,
    LossClusterPath,
    Observation,
    RouteChangePath,
    SimulatedPath,
    WeeklyPath,
    observe_everything,
    observe_with_restarts,
)

TARGETS = (0.995, 0.999)
#: "Beyond" is false if the truth exceeds the target by this margin: 0.1 percentage points.
MARGIN = 0.001
#: True shares by the days of a campaign. One and seven days can only be beyond, provisionally.
TRUTHS_BY_DAYS = {
    1: (0.9995, 0.996, 0.99),
    7: (0.9995, 0.996, 0.99),
    14: (0.999, 0.995, 0.99),
    28: (0.9995, 0.999, 0.996, 0.995, 0.99),
    63: (0.9995, 0.999, 0.996, 0.995, 0.99),
    126: (0.9995, 0.996, 0.99),
}
#: Far beyond both targets, in the families that compare intervals.
TRUTH_FAR_BEYOND = 0.95
DAYS = (1, 7, 28, 63, 126)
#: Only campaigns that can be "within" use a declaration.
DAYS_DECLARED = (28, 63, 126)
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationScenario:
    """Scenario of one row of the tables."""

    name: str
    path: SimulatedPath
    days: int
    observation: Observation = observe_everything
    #: False if outages are longer than the 240 minutes that "within" assumes, and not declared.
    within_assumptions: bool = True
    #: The path is declared as it is.
    declared_outages: DeclaredOutages | None = None
    #: The RTT has a step at a random midnight. The step itself changes no share.
    has_step: bool = False
    #: Compute the intervals that the rule does not use, for comparison.
    compares_intervals: bool = False

    @property
    def key(self) -> str:
        return f"{self.name}, {self.path.truth:.2%}, {self.days} d"


def is_clearly_inside(truth: float, target: float) -> bool:
    """True if "beyond" is false: at least 0.1 points inside, or just inside for a target of 99.9 % and more."""
    margin = MARGIN if target + MARGIN < 1 - _ROUNDING else 2 * _ROUNDING
    return truth >= target + margin - _ROUNDING


def is_outside(truth: float, target: float) -> bool:
    """True if "within" is false."""
    return truth < target - _ROUNDING


def build_scenarios() -> tuple[SimulationScenario, ...]:
    """Return all scenarios, those of a family one after the other."""
    return (*_build_short_episodes(), *_build_weekly(), *_build_steps(), *_build_long_outages(), *_build_declared())


def _build_short_episodes() -> Iterable[SimulationScenario]:
    """Yield the families with episodes of minutes to two hours."""
    yield from _build_family("bursty, 5 min", lambda truth: BurstyPath(truth=truth, median=5), compares={28, 63})
    yield from _build_family("bursty, 12 min", _build_bursty, days=(1, 7, 14, 28, 63, 126), compares={14, 28, 63})
    yield from _build_family("bursty, 30 min", lambda truth: BurstyPath(truth=truth, median=30), compares={28, 63})
    yield from _build_family(
        "bursty, 12 min, gaps", _build_bursty, days=(7, 28), observation=observe_with_restarts, compares={28}
    )
    yield from _build_family("AR(0.95)", lambda truth: AutocorrelatedPath(truth=truth, rho=0.95), compares={28})
    yield from _build_family("AR(0.99)", lambda truth: AutocorrelatedPath(truth=truth, rho=0.99), compares={28})
    yield from _build_family("loss clusters", lambda truth: LossClusterPath(truth=truth))
    yield from _build_family("route moved", _build_route_change, days=(28, 126), compares={28})
    yield from _build_family("excursions, 30 min", lambda truth: ExcursionPath(truth=truth, away=30), compares={28, 63})
    yield from _build_family("outages of 2 h", partial(_build_outages, 2))


def _build_weekly() -> Iterable[SimulationScenario]:
    yield from _build_family(
        "diurnal", lambda truth: DiurnalPath(truth=truth), days=(1, 7, 14, 28, 63, 126), compares={14, 28, 63}
    )
    yield from _build_family("office hours", lambda truth: WeeklyPath(truth=truth, bad_time=BadTime.OFFICE_HOURS))
    yield from _build_family("weekends", lambda truth: WeeklyPath(truth=truth, bad_time=BadTime.WEEKEND))


def _build_steps() -> Iterable[SimulationScenario]:
    """Yield the families with a harmless step of the RTT."""
    yield from _build_family("bursty, 12 min, step", _build_bursty, days=(28, 63, 126), has_step=True)
    yield from _build_family(
        "outages of 2 h, step",
        partial(_build_outages, 2),
        days=(28, 63, 126),
        has_step=True,
    )


def _build_long_outages() -> Iterable[SimulationScenario]:
    """Yield the families with outages that are longer than 240 minutes or have no longest length."""
    yield from _build_family(
        "excursions, 3 h", lambda truth: ExcursionPath(truth=truth, away=180), within_assumptions=False
    )
    yield from _build_family(
        "excursions, 4 h",
        lambda truth: ExcursionPath(truth=truth, away=240),
        days=(28, 63),
        within_assumptions=False,
        compares={28, 63},
    )
    for alpha in (1.1, 1.3):
        yield from _build_family(
            f"Pareto {alpha}",
            partial(_build_pareto, alpha),
            within_assumptions=False,
        )
    for hours in (6, 12):
        yield from _build_family(
            f"outages of {hours} h",
            partial(_build_outages, hours),
            within_assumptions=False,
        )
    for name, path in _PERIODIC:
        for days in DAYS:
            yield SimulationScenario(name=name, path=path, days=days, within_assumptions=False)


def _build_declared() -> Iterable[SimulationScenario]:
    """Yield the families with outages of one length again, with this length and their number declared."""
    for hours in (6, 12):
        for days in DAYS_DECLARED:
            for truth in TRUTHS_BY_DAYS[days]:
                yield _declare(f"outages of {hours} h", _build_outages(hours, truth), days)
    for name, path in _PERIODIC:
        for days in DAYS_DECLARED:
            yield _declare(name, path, days)


def _declare(name: str, path: OutagePath | PeriodicOutagePath, days: int) -> SimulationScenario:
    outages = DeclaredOutages(
        outages_per_year=path.per_year, longest_outage_s=path.length * 60, declared_on=date(2026, 1, 1)
    )
    return SimulationScenario(name=f"{name}, declared", path=path, days=days, declared_outages=outages)


def _build_family(
    name: str,
    path: Callable[[float], SimulatedPath],
    *,
    days: Iterable[int] = DAYS,
    observation: Observation = observe_everything,
    within_assumptions: bool = True,
    has_step: bool = False,
    compares: frozenset[int] | set[int] = frozenset(),
) -> Iterable[SimulationScenario]:
    for length in days:
        far_beyond = (TRUTH_FAR_BEYOND,) if length in compares else ()
        for truth in (*TRUTHS_BY_DAYS[length], *far_beyond):
            yield SimulationScenario(
                name=name,
                path=path(truth),
                days=length,
                observation=observation,
                within_assumptions=within_assumptions,
                has_step=has_step,
                compares_intervals=length in compares,
            )


def _build_bursty(truth: float) -> BurstyPath:
    return BurstyPath(truth=truth, median=12)


def _build_outages(hours: int, truth: float) -> OutagePath:
    return OutagePath(truth=truth, length=60 * hours)


def _build_pareto(alpha: float, truth: float) -> ParetoOutagePath:
    return ParetoOutagePath(truth=truth, alpha=alpha)


def _build_route_change(truth: float) -> RouteChangePath:
    """Return a path with a third of its bad windows before the change and the rest after it."""
    bad = 2 * (1 - truth)
    return RouteChangePath(first=_build_bursty(1 - bad / 3), second=_build_bursty(1 - 2 * bad / 3))


_PERIODIC = (
    ("8 h every 50 days", PeriodicOutagePath(interval=50 * DAY, length=8 * 60)),
    ("12 h a quarter", PeriodicOutagePath(interval=131_490, length=12 * 60)),
    ("2 days a year", PeriodicOutagePath(interval=525_960, length=2 * DAY)),
)
