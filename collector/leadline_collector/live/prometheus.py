"""Prometheus metrics of ``pair_now`` and ``agent_now``. Every collector of a database exports the same values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from sqlalchemy import Connection, func, select

from leadline.evaluation import WindowCause, WindowState
from leadline_collector.db.tables import site, tally_hour
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.live import store as live_store
from leadline_collector.live.pairs import RECENT_MINUTES
from leadline_collector.live.store import AgentNowRow, PairNowRow
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import PairNames
from leadline_collector.mesh.registry import Registry, load_registry
from leadline_collector.rollup import profile_revisions
from leadline_collector.rollup.profile_revisions import ProfileRevision
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S

#: Profiles with states, the first by name: eleven series per pair and profile.
PROFILES_MAX = 8
#: An hour is compacted and counted at most this long after its end.
COUNT_DELAY_S = 600
MINUTES_PER_DAY = 1_440
US_PER_S = 1_000_000

_PAIR_LABELS = ["source", "destination"]
_PROFILE_LABELS = [*_PAIR_LABELS, "profile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _NamedRows:
    """The exported rows, by names instead of ids."""

    by_pair_profile: Mapping[tuple[PairNames, str], PairNowRow]
    omitted_profiles: int
    #: Time of the last write of any row; None without rows.
    updated_at: int | None


def collect_metrics(reader: ReadTransaction, now_s: int, *, pairs_max: int, agents_max: int) -> Iterator[Metric]:
    """Yield the gauges of pairs and agents; rows that are not computed yet have no series."""
    connection = reader.connection
    registry, revisions = load_registry(connection), profile_revisions.load_current_revisions(connection)
    rows = _resolve_names(live_store.load_pairs(connection).values(), registry, revisions, pairs_max)
    yield from _build_state_metrics(rows)
    yield _build_coverage_metric(connection, rows, registry, revisions, now_s)
    yield from _build_limit_metrics(rows, now_s)
    names = {agent.id: agent.name for agent in mesh_store.load_agents(reader.connection)}
    agents = sorted(live_store.load_agents(connection).values())[:agents_max]
    yield from _build_agent_metrics({names[row.src_id]: row for row in agents}, now_s)


def _resolve_names(
    rows: Collection[PairNowRow], registry: Registry, revisions: Iterable[ProfileRevision], pairs_max: int
) -> _NamedRows:
    sites = {site_id: name for name, site_id in registry.site_ids.items()}
    profiles = {revision.id: revision.profile for revision in revisions}
    profile_names = sorted({profiles[row.rule_id] for row in rows if row.rule_id in profiles})
    rows_by_name = {
        ((sites[row.source_id], sites[row.destination_id]), profiles[row.rule_id]): row
        for row in rows
        if profiles.get(row.rule_id) in profile_names[:PROFILES_MAX]
    }
    pairs = set(sorted({pair for pair, _ in rows_by_name})[:pairs_max])
    return _NamedRows(
        by_pair_profile={key: rows_by_name[key] for key in sorted(rows_by_name) if key[0] in pairs},
        omitted_profiles=max(0, len(profile_names) - PROFILES_MAX),
        updated_at=max((row.updated_at for row in rows), default=None),
    )


def _build_state_metrics(rows: _NamedRows) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "leadline_pair_state",
        "1 for the worst-case state of the newest due minute, 0 for the other states.",
        labels=[*_PROFILE_LABELS, "state"],
    )
    cause = GaugeMetricFamily(
        "leadline_pair_cause",
        "1 for the cause of that state if it is bad or unavailable, 0 for the other causes.",
        labels=[*_PROFILE_LABELS, "cause"],
    )
    since = GaugeMetricFamily(
        "leadline_pair_state_since_seconds",
        "Unix time of the start of the unbroken run of that state.",
        labels=_PROFILE_LABELS,
    )
    invalid = GaugeMetricFamily(
        "leadline_pair_invalid",
        "1 if a reply of the last 15 minutes is faster than light in a vacuum over the distance between the sites.",
        labels=_PAIR_LABELS,
    )
    for pair, is_invalid in {pair: row.invalid for (pair, _), row in rows.by_pair_profile.items()}.items():
        invalid.add_metric(pair, is_invalid)
    for (pair, profile), row in rows.by_pair_profile.items():
        for state_value in WindowState:
            state.add_metric([*pair, profile, state_value.value], row.state == state_value)
        for cause_value in WindowCause:
            cause.add_metric([*pair, profile, cause_value.value], row.cause == cause_value)
        since.add_metric([*pair, profile], row.since)
    yield from (state, cause, since, invalid)


def _build_coverage_metric(
    connection: Connection, rows: _NamedRows, registry: Registry, revisions: Iterable[ProfileRevision], now_s: int
) -> GaugeMetricFamily:
    """Build the coverage gauge from one revision: a window is known or unknown by every revision with criteria."""
    family = GaugeMetricFamily(
        "leadline_pair_coverage_ratio",
        "Share of known windows: in the last 15 minutes, and in the last 24 hours that are counted.",
        labels=[*_PAIR_LABELS, "period"],
    )
    profiles = {profile for _, profile in rows.by_pair_profile}
    revision = next((revision for revision in revisions if revision.criteria and revision.profile in profiles), None)
    if revision is None:
        return family
    day_counts = _load_known_counts(connection, revision.id, now_s)
    for (pair, profile), row in rows.by_pair_profile.items():
        if profile == revision.profile:
            family.add_metric([*pair, "15m"], (row.good_15 + row.bad_15 + row.unavailable_15) / RECENT_MINUTES)
            known_minutes = day_counts.get((row.source_id, row.destination_id), 0)
            family.add_metric([*pair, "24h"], known_minutes / MINUTES_PER_DAY)
    return family


def _load_known_counts(connection: Connection, rule_id: int, now_s: int) -> dict[tuple[int, int], int]:
    """Count the known windows of each pair in the last 24 whole hours that are counted."""
    column, end_s = tally_hour.c, (now_s - COUNT_DELAY_S) // HOUR_S * HOUR_S
    known_sum = func.sum(column.good + column.bad + column.unavailable)
    query = select(column.source_id, column.destination_id, known_sum).where(
        # The sub-selects let the query use the whole key (``period_counts``).
        column.source_id.in_(select(site.c.id)),
        column.rule_id == rule_id,
        column.destination_id.in_(select(site.c.id)),
        column.t >= end_s - DAY_S,
        column.t < end_s,
    )
    rows = connection.execute(query.group_by(column.source_id, column.destination_id))
    return {(row[0], row[1]): int(row[2]) for row in rows}


def _build_limit_metrics(rows: _NamedRows, now_s: int) -> Iterator[Metric]:
    omitted = GaugeMetricFamily("leadline_profiles_left_out", "Profiles without series because there are too many.")
    omitted.add_metric([], rows.omitted_profiles)
    yield omitted
    if rows.updated_at is not None:
        age = GaugeMetricFamily("leadline_now_age_seconds", "Time since the current states were refreshed.")
        age.add_metric([], max(0, now_s - rows.updated_at))
        yield age


def _build_agent_metrics(rows: Mapping[str, AgentNowRow], now_s: int) -> Iterator[Metric]:
    heard_age_s = {name: max(0, now_s - row.heard_at) for name, row in rows.items() if row.heard_at is not None}
    yield _build_gauge("heard_age_seconds", "Time since the last batch arrived.", heard_age_s)
    yield _build_gauge("spool_batches", "Batches waiting in the agent's spool.", _select_column(rows, "spool_batches"))
    yield _build_gauge("spool_bytes", "Bytes waiting in the agent's spool.", _select_column(rows, "spool_bytes"))
    yield _build_gauge("spool_limit_bytes", "Quota of the agent's spool.", _select_column(rows, "spool_bytes_max"))
    yield _build_gauge(
        "clock_offset_seconds",
        "The agent's wall clock minus the collector's, from its newest batch.",
        _select_column(rows, "clock_offset_us", US_PER_S),
    )
    yield _build_gauge(
        "clock_offset_error_seconds",
        "Uncertainty of the clock offset.",
        _select_column(rows, "clock_offset_error_us", US_PER_S),
    )
    yield _build_gauge(
        "ntp_synchronised",
        "1 if the agent's kernel reports a synchronised clock.",
        _select_column(rows, "ntp_synchronised"),
    )
    version = InfoMetricFamily("leadline_agent", "The agent's program version.", labels=["agent"])
    for name, row in rows.items():
        if row.version is not None:
            version.add_metric([name], {"version": row.version})
    yield version


def _build_gauge(name: str, meaning: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"leadline_agent_{name}", meaning, labels=["agent"])
    for agent, value in values.items():
        family.add_metric([agent], value)
    return family


def _select_column(rows: Mapping[str, AgentNowRow], name: str, divisor: int = 1) -> dict[str, float]:
    """Return the values of a column by agent, divided by ``divisor``; omit agents without a value."""
    values = {agent: getattr(row, name) for agent, row in rows.items()}
    return {agent: value / divisor for agent, value in values.items() if value is not None}
