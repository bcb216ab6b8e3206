"""The windows of one directed pair by path: the data of a cell of the matrix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from leadline.clock import format_iso8601
from leadline.model import WINDOW_S, Pair
from leadline.wire.batch import is_imported
from leadline_collector.analysis.documents import PairWindowResponse, PairWindowsResponse, PathWindowResponse
from leadline_collector.db.tables import FAILURE_COLUMNS
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.errors import NotFoundError
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.store import NamedId, PathIds
from leadline_collector.rollup.profile_revisions import get_evaluation_plan
from leadline_collector.time_range import TimeRange
from leadline_collector.windows import store as window_store
from leadline_collector.windows.row_evaluation import RowEvaluator, RowValues
from leadline_collector.windows.rows import WINDOW_COLUMNS

#: 26 hours, the maximum that a page draws.
LIMIT_DEFAULT = 1_560
#: A week.
LIMIT_MAX = 10_080


def load_pair_windows(
    reader: ReadTransaction, pair: Pair, period: TimeRange, profile_id: str | None, limit: int
) -> PairWindowsResponse:
    """Return at most ``limit`` minutes of a pair, oldest first; raise NotFoundError if one of its sites is unknown."""
    evaluator = None if profile_id is None else RowEvaluator(get_evaluation_plan(profile_id))
    rows = _load_rows(reader, pair, period, limit)
    minutes = sorted(rows)
    windows = [_build_window(t, rows[t], evaluator) for t in minutes[:limit]]
    return PairWindowsResponse(
        source=pair.source,
        destination=pair.destination,
        profile=profile_id,
        start_s=period.start_s,
        start_iso=format_iso8601(period.start_s),
        end_s=period.end_s,
        end_iso=format_iso8601(period.end_s),
        simulated=any(path.simulated for window in windows for path in window.paths),
        imported=any(path.imported for window in windows for path in window.paths),
        windows=windows,
        next_from=windows[-1].t + WINDOW_S if len(minutes) > limit else None,
    )


def _load_rows(reader: ReadTransaction, pair: Pair, period: TimeRange, limit: int) -> dict[int, list[dict[str, Any]]]:
    """Return the rows by minute; ``limit`` + 1 minutes if there are more than ``limit``."""
    rows: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for agent, target in iter_paths(reader, pair):
        path = PathIds(src_id=agent.id, dst_id=target.id)
        for row in window_store.load_path_windows(
            reader.connection, path, WINDOW_COLUMNS, period.start_s, period.end_s, limit + 1
        ):
            values = dict(zip(WINDOW_COLUMNS, row, strict=True))
            rows[values["t"]].append(values | {"agent": agent.name, "target": target.name})
    return rows


def iter_paths(reader: ReadTransaction, pair: Pair) -> Iterator[tuple[NamedId, NamedId]]:
    """Return agent and target of every path of a pair; raise NotFoundError if one of its sites is unknown."""
    agents = [agent for agent in mesh_store.load_agents(reader.connection) if agent.site == pair.source]
    targets = [target for target in mesh_store.load_targets(reader.connection) if target.site == pair.destination]
    if not agents or not targets:
        missing = pair.destination if agents else pair.source
        raise NotFoundError(f"no mesh ever had an agent or host at a site {missing!r}")
    return ((agent, target) for agent in agents for target in targets)


def _build_window(t: int, rows: list[dict[str, Any]], evaluator: RowEvaluator | None) -> PairWindowResponse:
    evaluation = (
        None if evaluator is None else evaluator.evaluate_paths([_select_values(row, evaluator) for row in rows])
    )
    return PairWindowResponse(
        t=t,
        at=format_iso8601(t),
        state=None if evaluation is None else evaluation.worst_case,
        cause=None if evaluation is None else evaluation.cause,
        paths=[_build_path_window(row, evaluator) for row in rows],
    )


def _select_values(row: dict[str, Any], evaluator: RowEvaluator) -> RowValues:
    return tuple(row[name] for name in evaluator.columns)


#: Columns that a response has under the same name.
_COPIED_COLUMNS = (
    "interval_ms", "expected", "sent", "received", "min_us", "mean_us", "p50_us", "p95_us", "p99_us", "max_us",
    "pdv_us", "mean_step_us", "latency_p95_us", "duplicates", "error_p50_us", "error_p99_us", "mesh_version", "seq",
)  # fmt: skip


def _build_path_window(row: dict[str, Any], evaluator: RowEvaluator | None) -> PathWindowResponse:
    evaluation = None if evaluator is None else evaluator.evaluate_row(_select_values(row, evaluator))
    return PathWindowResponse(
        agent=row["agent"],
        target=row["target"],
        state=None if evaluation is None else evaluation.worst_case,
        cause=None if evaluation is None else evaluation.cause,
        simulated=row["epoch"] is None,
        imported=is_imported(row["agent"]),
        failures={failure.value: row[name] for failure, name in FAILURE_COLUMNS.items() if row[name]},
        epoch=None if row["epoch"] is None else row["epoch"].hex(),
        **{name: row[name] for name in _COPIED_COLUMNS},
    )
