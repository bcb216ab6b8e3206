"""Report of the simulation: goals, and the results as Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from leadline_verdict.document import VerdictClass
from tests.simulate.campaign import ScenarioResult
from tests.simulate.changes import TRUE_BINS, ChangePointResult
from tests.simulate.classification import BEYOND, WITHIN
from tests.simulate.monotony import MonotonyResult
from tests.simulate.scenarios import TARGETS

LOW_COVERAGE_GOAL = 0.90
FALSE_BEYOND_GOAL = 0.02
FALSE_WITHIN_GOAL = 0.05
#: Shortest campaign that can be "within".
DAYS_MIN_FOR_LOW = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationGoal:
    """One goal and the row with the worst value."""

    text: str
    worst: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationReport:
    """All results of a simulation."""

    runs: int
    seed: int
    rows: tuple[ScenarioResult, ...]
    changes: tuple[ChangePointResult, ...]
    monotony: tuple[MonotonyResult, ...]

    @property
    def goals(self) -> tuple[SimulationGoal, ...]:
        """The goals that the simulated scenarios can show."""
        return tuple(_evaluate_goals(self))

    @property
    def meets_goals(self) -> bool:
        """True if all goals are met."""
        return all(goal.met for goal in self.goals)

    def format_json(self) -> str:
        """Return the report as one JSON object."""
        return json.dumps(
            {
                "runs": self.runs,
                "seed": self.seed,
                "targets": TARGETS,
                "scenarios": [_build_document(row) for row in self.rows],
                "change_points": [asdict(row) for row in self.changes],
                "monotony": [asdict(row) for row in self.monotony],
                "goals": [asdict(goal) for goal in self.goals],
            },
            indent=2,
        )


def get_worst_ratio(
    rows: Iterable[ScenarioResult], classes: tuple[VerdictClass, ...], targets: tuple[float, ...]
) -> tuple[float, ScenarioResult, float] | None:
    """Return the largest ratio of classes where they are false, with row and target; None if they never are."""
    counted = ((row.count_false(target, classes), row, target) for row in rows for target in targets)
    ratios = [(number / row.runs, row, target) for number, row, target in counted if number is not None]
    return max(ratios, key=lambda ratio: ratio[0], default=None)


def _evaluate_goals(report: SimulationReport) -> Iterator[SimulationGoal]:
    assumed = [row for row in report.rows if row.scenario.within_assumptions]
    yield from _evaluate_classes("false beyond of either form", FALSE_BEYOND_GOAL, report.rows, BEYOND)
    yield from _evaluate_classes(
        "false within, outages up to 240 minutes or declared", FALSE_WITHIN_GOAL, assumed, (VerdictClass.WITHIN,)
    )
    long_enough = [row for row in assumed if row.scenario.days >= DAYS_MIN_FOR_LOW]
    if long_enough:
        yield _evaluate_coverage(long_enough)
    if report.monotony:
        yield _evaluate_monotony(report.monotony)
    if report.changes:
        yield from _evaluate_change_points(report.changes)


def _evaluate_classes(
    text: str, goal: float, rows: Iterable[ScenarioResult], classes: tuple[VerdictClass, ...]
) -> Iterator[SimulationGoal]:
    worst = get_worst_ratio(rows, classes, TARGETS)
    if worst is not None:
        ratio, row, target = worst
        yield SimulationGoal(
            text=f"{text}: at most {goal:.0%}",
            worst=f"{ratio:.1%}: {row.scenario.key}, target {target:.1%}",
            met=ratio <= goal,
        )


def _evaluate_coverage(rows: Iterable[ScenarioResult]) -> SimulationGoal:
    worst = min(rows, key=lambda row: row.get_ratio("low"))
    ratio = worst.get_ratio("low")
    return SimulationGoal(
        text=f"lower bound of within is below the truth, outages up to 240 minutes or declared: "
        f"at least {LOW_COVERAGE_GOAL:.0%}",
        worst=f"{ratio:.1%}: {worst.scenario.key}",
        met=ratio >= LOW_COVERAGE_GOAL,
    )


def _evaluate_monotony(results: Iterable[MonotonyResult]) -> SimulationGoal:
    rows = [row for row in results if row.change.endswith("verdict")]
    inversions = sum(row.inversions for row in rows)
    return SimulationGoal(
        text="no verdict is worse for a laxer limit, a lower target or one bad minute fewer",
        worst=f"{inversions} in {sum(row.comparisons for row in rows)} comparisons",
        met=inversions == 0,
    )


def _evaluate_change_points(changes: Iterable[ChangePointResult]) -> Iterator[SimulationGoal]:
    rows = tuple(changes)
    false = sum(row.false + row.extra for row in rows)
    months = sum(row.months for row in rows)
    found = sum(row.found for row in rows)
    yield SimulationGoal(text="no false change point", worst=f"{false} in {2 * months} months", met=false == 0)
    true = len(TRUE_BINS) * months
    yield SimulationGoal(text="every true step at its bin", worst=f"{found} of {true}", met=found == true)


def _build_document(row: ScenarioResult) -> dict[str, object]:
    scenario = row.scenario
    return {
        "name": scenario.name,
        "true_ratio": scenario.path.truth,
        "days": scenario.days,
        "within_assumptions": scenario.within_assumptions,
        "declared": scenario.declared_outages is not None,
        "runs": row.runs,
        "holding": row.holding,
        "verdicts": [
            {
                "target": target,
                "classes": classes,
                "false": {each: row.count_false(target, (each,)) for each in (*BEYOND, *WITHIN)},
            }
            for target, classes in row.classes.items()
        ],
    }
