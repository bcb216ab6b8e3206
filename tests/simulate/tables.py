"""Tables of the simulation in Markdown, and the pages of the documentation that contain them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from leadline_verdict.document import VerdictClass
from tests.simulate.campaign import ScenarioResult
from tests.simulate.changes import TRUE_BINS, ChangePointResult
from tests.simulate.classification import BEYOND, CLASSES, WITHIN
from tests.simulate.monotony import MonotonyResult
from tests.simulate.report import DAYS_MIN_FOR_LOW, SimulationReport, get_worst_ratio
from tests.simulate.scenarios import TARGETS

#: Campaigns that can be "within", in the table of the limits of the method.
LONG_DAYS = (28, 63, 126)
BEGIN = "<!-- The command writes the tables from here on. -->"
END = "<!-- The tables end here. -->"
_NOT_FALSE = "-"


def format_markdown(report: SimulationReport) -> str:
    """Return all tables, with a heading for each."""
    return f"{format_summary(report)}\n\n## Every scenario\n{format_scenarios(report)}"


def format_summary(report: SimulationReport) -> str:
    """Return the tables of docs/simulation.md: goals, families, limits of the method, and the other checks."""
    sections = [
        ("Goals", _format_goals(report)),
        *((f"Families, target {target:.1%}", _format_families(report.rows, target)) for target in TARGETS),
        ("What this cannot show", _format_limits(report.rows)),
        ("Other intervals", _format_other_intervals(report.rows)),
        ("Monotony", _format_table(_MONOTONY_COLUMNS, map(_format_monotony_cells, report.monotony))),
        ("Change points", _format_table(_CHANGE_COLUMNS, map(_format_change_cells, report.changes))),
    ]
    head = f"{report.runs} campaigns for each scenario, seed {report.seed}."
    return "\n\n".join([head, *(f"### {title}\n" + "\n".join(lines) for title, lines in sections)])


def format_scenarios(report: SimulationReport) -> str:
    """Return a table for each family, with a row for each scenario."""
    return "\n\n".join(
        f"## {name}\n" + "\n".join(_format_table(_SCENARIO_COLUMNS, map(_format_scenario_cells, rows)))
        for name, rows in _group_families(report.rows)
    )


def write_pages(report: SimulationReport, docs: Path) -> None:
    """Write the tables into docs/simulation.md, and docs/simulation-tables.md; ValueError without the two marks."""
    page = docs / "simulation.md"
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page} has no place for the tables: add the lines {BEGIN} and {END}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f"{before}{BEGIN}\n{format_summary(report)}\n{END}{after}", encoding="utf-8")
    (docs / "simulation-tables.md").write_text(f"{_TABLES_HEAD}\n{format_scenarios(report)}\n", encoding="utf-8")


_TABLES_HEAD = """# Simulation: every scenario

`make simulate ARGS="--write-pages docs"` writes this page; [Simulation](simulation.md) explains it. Each number is a
share of campaigns. *lower 240*, *lower 30* and *upper* give how often the bound is on the right side of the true share.
*lower 240* is the bound of "within"; in the families with declared outages it uses these instead. *lower 30* is the
bound of "within, provisionally". The other columns give how often each verdict occurs, for both targets. A false
verdict is bold.
"""


def _group_families(rows: Iterable[ScenarioResult]) -> Iterator[tuple[str, list[ScenarioResult]]]:
    for name, group in groupby(rows, key=lambda row: row.scenario.name):
        yield name, list(group)


def _format_goals(report: SimulationReport) -> list[str]:
    cells = ((goal.text, goal.worst, "met" if goal.met else "**missed**") for goal in report.goals)
    return _format_table(("goal", "worst", ""), cells)


_FAMILY_COLUMNS = (
    "family",
    "lower 240 holds",
    "lower 30 holds",
    "upper holds",
    "false within",
    "false within, provisionally",
    "false beyond",
    "false beyond, provisionally",
)


def _format_families(rows: Iterable[ScenarioResult], target: float) -> list[str]:
    return _format_table(
        _FAMILY_COLUMNS, (_format_family_cells(name, family, target) for name, family in _group_families(rows))
    )


def _format_family_cells(name: str, family: list[ScenarioResult], target: float) -> tuple[str, ...]:
    """Return the worst values over the true shares and days of a family; the lower bounds from 14 days on."""
    long_enough = [row for row in family if row.scenario.days >= DAYS_MIN_FOR_LOW]
    lows = [min((row.get_ratio(bound) for row in long_enough), default=1.0) for bound in ("low", "low_provisional")]
    return (
        name if family[0].scenario.within_assumptions else f"{name} *",
        *(f"{low:.1%}" for low in lows),
        f"{min(row.get_ratio('high') for row in family):.1%}",
        *(_format_worst(family, verdict_class, target) for verdict_class in (*WITHIN, *BEYOND)),
    )


def _format_worst(rows: Iterable[ScenarioResult], verdict_class: VerdictClass, target: float) -> str:
    worst = get_worst_ratio(rows, (verdict_class,), (target,))
    return _NOT_FALSE if worst is None else f"{worst[0]:.1%}"


def _format_limits(rows: Iterable[ScenarioResult]) -> list[str]:
    """Return the false "within" in the families with longer outages; without rows that have none."""
    columns = (
        "family",
        "true share",
        "target",
        *(f"{d} d: {w}" for d in LONG_DAYS for w in ("within", "provisionally")),
    )
    return _format_table(columns, _iter_limit_cells(row for row in rows if not row.scenario.within_assumptions))


def _iter_limit_cells(rows: Iterable[ScenarioResult]) -> Iterator[tuple[str, ...]]:
    for name, family in _group_families(rows):
        for truth in sorted({row.scenario.path.truth for row in family}, reverse=True):
            by_days = {row.scenario.days: row for row in family if row.scenario.path.truth == truth}
            for target in TARGETS:
                cells = [
                    _NOT_FALSE if days not in by_days else _format_false(by_days[days], target, verdict_class)
                    for days in LONG_DAYS
                    for verdict_class in WITHIN
                ]
                if set(cells) - {_NOT_FALSE, f"{0:.1%}"}:
                    yield (name, f"{truth:.2%}", f"{target:.1%}", *cells)


def _format_false(row: ScenarioResult, target: float, verdict_class: VerdictClass) -> str:
    count = row.count_false(target, (verdict_class,))
    return _NOT_FALSE if count is None else f"{count / row.runs:.1%}"


_OTHER_INTERVALS = (
    "binomial",
    "day_bootstrap",
    "korn_graubard",
    "stationary_bootstrap",
    "f_bound",
    "low",
    "low_provisional",
    "high",
)
_OTHER_COLUMNS = (
    "path",
    "true share",
    "days",
    "binomial",
    "day bootstrap",
    "Korn-Graubard",
    "stationary bootstrap: lower",
    "F bound: lower",
    "rule: lower 240",
    "rule: lower 30",
    "rule: upper",
)


def _format_other_intervals(rows: Iterable[ScenarioResult]) -> list[str]:
    return _format_table(
        _OTHER_COLUMNS,
        (
            (
                row.scenario.name,
                f"{row.scenario.path.truth:.2%}",
                str(row.scenario.days),
                *(f"{row.get_ratio(name):.1%}" for name in _OTHER_INTERVALS),
            )
            for row in rows
            if row.scenario.compares_intervals
        ),
    )


_CLASS_COLUMNS = ("beyond", "beyond, prov.", "insufficient", "marginal", "within, prov.", "within")
_SCENARIO_COLUMNS = (
    "true share",
    "days",
    "lower 240",
    "lower 30",
    "upper",
    *(f"{target:.1%}: {name}" for target in TARGETS for name in _CLASS_COLUMNS),
)


def _format_scenario_cells(row: ScenarioResult) -> tuple[str, ...]:
    return (
        f"{row.scenario.path.truth:.2%}",
        str(row.scenario.days),
        *(f"{row.get_ratio(bound):.1%}" for bound in ("low", "low_provisional", "high")),
        *(_format_class(row, target, verdict_class) for target in TARGETS for verdict_class in CLASSES),
    )


def _format_class(row: ScenarioResult, target: float, verdict_class: VerdictClass) -> str:
    count = row.count_classes(target, (verdict_class,))
    if not count:
        return ""
    text = f"{count / row.runs:.1%}"
    can_be_false = verdict_class in (*BEYOND, *WITHIN)
    return f"**{text}**" if can_be_false and row.count_false(target, (verdict_class,)) else text


_MONOTONY_COLUMNS = ("change", "paths", "comparisons", "inversions", "largest decrease of a bound")


def _format_monotony_cells(row: MonotonyResult) -> tuple[str, ...]:
    largest = f"{row.largest:.1e}" if row.inversions and row.largest else ""
    return row.change, str(row.paths), str(row.comparisons), str(row.inversions), largest


_CHANGE_COLUMNS = ("noise of the minima", "months", "fit alone, points", "false points", "true steps found", "extra")


def _format_change_cells(row: ChangePointResult) -> tuple[str, ...]:
    name = f"AR({row.rho:g})" if row.rho else "white"
    found = f"{row.found} of {len(TRUE_BINS) * row.months}"
    return name, str(row.months), str(row.unmerged), str(row.false), found, str(row.extra)


def _format_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [head, tuple("---" for _ in head), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
