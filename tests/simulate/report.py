"""Report of the simulation: goals, and tables in Markdown or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from tests.simulate.campaign import TARGET, ScenarioResult
from tests.simulate.changes import TRUE_BINS, ChangePointResult

LOW_COVERAGE_GOAL = 0.90
FALSE_VERDICTS_GOAL = 0.01


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

    @property
    def goals(self) -> tuple[SimulationGoal, ...]:
        """The goals, evaluated for the scenarios within the assumptions of §4.3."""
        rows = [row for row in self.rows if row.scenario.within_assumptions]
        return (_evaluate_coverage(rows), _evaluate_false_verdicts(rows), *_evaluate_change_points(self.changes))

    @property
    def meets_goals(self) -> bool:
        """True if all goals are met."""
        return all(goal.met for goal in self.goals)

    def format_markdown(self) -> str:
        """Return the report as Markdown."""
        return "\n".join(
            [
                f"{self.runs} campaigns for each row, seed {self.seed}, target {TARGET:.1%}. Columns count campaigns.",
                "",
                *_format_table(_COLUMNS, (_format_cells(row) for row in self.rows)),
                "",
                *_format_table(_CHANGE_COLUMNS, (_format_change_cells(row) for row in self.changes)),
                "",
                *_format_table(
                    ("goal", "worst", ""),
                    ((g.text, g.worst, "met" if g.met else "missed") for g in self.goals),
                ),
            ]
        )

    def format_json(self) -> str:
        """Return the report as one JSON object."""
        return json.dumps(
            {
                "runs": self.runs,
                "seed": self.seed,
                "target_ratio": TARGET,
                "scenarios": [_build_document(row) for row in self.rows],
                "change_points": [asdict(row) for row in self.changes],
                "goals": [asdict(goal) for goal in self.goals],
            },
            indent=2,
        )


def _evaluate_coverage(rows: Iterable[ScenarioResult]) -> SimulationGoal:
    worst = min(rows, key=lambda row: row.counts["low"] / row.runs)
    ratio = worst.counts["low"] / worst.runs
    return SimulationGoal(
        text=f"the lower bound of the chosen rule holds in at least {LOW_COVERAGE_GOAL:.0%}",
        worst=f"{ratio:.1%}: {worst.scenario.key}",
        met=ratio >= LOW_COVERAGE_GOAL,
    )


def _evaluate_false_verdicts(rows: Iterable[ScenarioResult]) -> SimulationGoal:
    ratios = [(row.false_verdicts / row.runs, row) for row in rows if row.false_verdicts is not None]
    ratio, worst = max(ratios, key=lambda pair: pair[0])
    return SimulationGoal(
        text=f"false beyond or within in at most {FALSE_VERDICTS_GOAL:.0%} where the truth is not on the line",
        worst=f"{ratio:.1%}: {worst.scenario.key}",
        met=ratio <= FALSE_VERDICTS_GOAL,
    )


def _evaluate_change_points(changes: Iterable[ChangePointResult]) -> Iterable[SimulationGoal]:
    rows = tuple(changes)
    false = sum(row.false + row.extra for row in rows)
    months = sum(row.months for row in rows)
    found = sum(row.found for row in rows)
    yield SimulationGoal(text="no false change point", worst=f"{false} in {2 * months} months", met=false == 0)
    true = len(TRUE_BINS) * months
    yield SimulationGoal(text="every true step at its bin", worst=f"{found} of {true}", met=found == true)


_COLUMNS = (
    "path",
    "true share",
    "days",
    "binomial holds",
    "day bootstrap holds",
    "Korn-Graubard holds",
    "chosen: lower holds",
    "chosen: upper holds",
    "by episodes",
    "hi < Y: beyond",
    "lo >= Y: within",
    "false",
)


def _format_cells(row: ScenarioResult) -> tuple[str, ...]:
    counts = row.counts
    mark = "" if row.scenario.within_assumptions else " *"
    return (
        row.scenario.name + mark,
        f"{row.scenario.path.truth:.1%}",
        str(row.scenario.days),
        *(str(counts[name]) for name in ("binomial", "bootstrap", "korn_graubard", "low", "high", "by_episodes")),
        str(counts["beyond"]),
        str(counts["within"]),
        "on the line" if row.false_verdicts is None else str(row.false_verdicts),
    )


def _build_document(row: ScenarioResult) -> dict[str, object]:
    return {
        "name": row.scenario.name,
        "true_ratio": row.scenario.path.truth,
        "days": row.scenario.days,
        "within_assumptions": row.scenario.within_assumptions,
        "runs": row.runs,
        **row.counts,
        "false_verdicts": row.false_verdicts,
    }


_CHANGE_COLUMNS = ("noise of the minima", "months", "fit alone, points", "false points", "true steps found", "extra")


def _format_change_cells(row: ChangePointResult) -> tuple[str, ...]:
    name = f"AR({row.rho:g})" if row.rho else "white"
    found = f"{row.found} of {len(TRUE_BINS) * row.months}"
    return name, str(row.months), str(row.unmerged), str(row.false), found, str(row.extra)


def _format_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
