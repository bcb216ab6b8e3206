"""``pair_now`` and ``agent_now`` in Prometheus' words. Every collector on a database says the same of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from sqlalchemy import Connection, func, select

from leadline.evaluation import State
from leadline_collector.db.tables import site, tally_hour
from leadline_collector.db.transactions import Reader
from leadline_collector.live import store as live_store
from leadline_collector.live.pairs import COUNTED
from leadline_collector.live.store import AgentNow, PairNow
from leadline_collector.mesh import registry
from leadline_collector.mesh import store as mesh_store
from leadline_collector.mesh.paths import PairNames
from leadline_collector.mesh.registry import Directory
from leadline_collector.rollup import profile_revisions
from leadline_collector.rollup.profile_revisions import Rule
from leadline_collector.windows.dirty_hours import DAY_S, HOUR_S

#: Profiles with states, the first by name: seven series a pair each.
PROFILES_MAX = 8
#: The last hour is compacted and counted by this time after its end.
COUNTED_AFTER_S = 600
MINUTES_A_DAY = 1_440
US_PER_S = 1_000_000

_PAIR = ["source", "destination"]
_JUDGED = [*_PAIR, "profile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The rows that are shown, by names."""

    of: Mapping[tuple[PairNames, str], PairNow]
    profiles_cut: int
    #: When any of them was written last; None for none.
    updated_at: int | None


def families(reader: Reader, now_s: int, *, pairs_max: int, agents_max: int) -> Iterator[Metric]:
    """Every gauge of now; pairs and agents that nobody computed yet have none."""
    connection = reader.connection
    known, judged_by = registry.read(connection), profile_revisions.valid(connection)
    rows = _named(live_store.pairs(connection).values(), known, judged_by, pairs_max)
    yield from _states(rows)
    yield _coverage(connection, rows, known, judged_by, now_s)
    yield from _bounds(rows, now_s)
    names = {agent.id: agent.name for agent in mesh_store.load_agents(reader.connection)}
    agents = sorted(live_store.agents(connection).values())[:agents_max]
    yield from _agents({names[row.src_id]: row for row in agents}, now_s)


def _named(rows: Collection[PairNow], known: Directory, judged_by: Iterable[Rule], pairs_max: int) -> _Rows:
    sites = {number: name for name, number in known.site_ids.items()}
    profiles = {rule.id: rule.profile for rule in judged_by}
    shown = sorted({profiles[row.rule_id] for row in rows if row.rule_id in profiles})
    named = {
        ((sites[row.source_id], sites[row.destination_id]), profiles[row.rule_id]): row
        for row in rows
        if profiles.get(row.rule_id) in shown[:PROFILES_MAX]
    }
    pairs = set(sorted({pair for pair, _ in named})[:pairs_max])
    return _Rows(
        of={key: named[key] for key in sorted(named) if key[0] in pairs},
        profiles_cut=max(0, len(shown) - PROFILES_MAX),
        updated_at=max((row.updated_at for row in rows), default=None),
    )


def _states(rows: _Rows) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "leadline_pair_state",
        "1 for the state of the newest minute that is due, as measured; 0 for the others.",
        labels=[*_JUDGED, "state"],
    )
    since = GaugeMetricFamily(
        "leadline_pair_state_since_seconds",
        "Unix time of the start of the unbroken run of that state.",
        labels=_JUDGED,
    )
    for (pair, profile), row in rows.of.items():
        for one in State:
            state.add_metric([*pair, profile, one.value], row.state == one)
        since.add_metric([*pair, profile], row.since)
    yield from (state, since)


def _coverage(
    connection: Connection, rows: _Rows, known: Directory, judged_by: Iterable[Rule], now_s: int
) -> GaugeMetricFamily:
    """Whether a window is known is the same for every rule that judges something, so one of them tells it."""
    family = GaugeMetricFamily(
        "leadline_pair_coverage_ratio",
        "Share of the windows that are known: of the last 15 minutes, of the last 24 hours that are counted.",
        labels=[*_PAIR, "period"],
    )
    profiles = {profile for _, profile in rows.of}
    rule = next((rule for rule in judged_by if rule.criteria and rule.profile in profiles), None)
    if rule is None:
        return family
    of_day = _known_of_day(connection, rule.id, now_s)
    for (pair, profile), row in rows.of.items():
        if profile == rule.profile:
            family.add_metric([*pair, "15m"], (row.good_15 + row.bad_15 + row.unavailable_15) / COUNTED)
            counted = of_day.get((row.source_id, row.destination_id), 0)
            family.add_metric([*pair, "24h"], counted / MINUTES_A_DAY)
    return family


def _known_of_day(connection: Connection, rule_id: int, now_s: int) -> dict[tuple[int, int], int]:
    """Known windows of each pair in the last 24 whole hours that are counted."""
    column, end_s = tally_hour.c, (now_s - COUNTED_AFTER_S) // HOUR_S * HOUR_S
    known = func.sum(column.good + column.bad + column.unavailable)
    query = select(column.source_id, column.destination_id, known).where(
        # Said so that the key is used to its end (``period_counts``).
        column.source_id.in_(select(site.c.id)),
        column.rule_id == rule_id,
        column.destination_id.in_(select(site.c.id)),
        column.t >= end_s - DAY_S,
        column.t < end_s,
    )
    rows = connection.execute(query.group_by(column.source_id, column.destination_id))
    return {(row[0], row[1]): int(row[2]) for row in rows}


def _bounds(rows: _Rows, now_s: int) -> Iterator[Metric]:
    cut = GaugeMetricFamily("leadline_profiles_left_out", "Profiles without series because there are too many.")
    cut.add_metric([], rows.profiles_cut)
    yield cut
    if rows.updated_at is not None:
        age = GaugeMetricFamily("leadline_now_age_seconds", "Time since the states of now were brought up to date.")
        age.add_metric([], max(0, now_s - rows.updated_at))
        yield age


def _agents(rows: Mapping[str, AgentNow], now_s: int) -> Iterator[Metric]:
    heard = {name: max(0, now_s - row.heard_at) for name, row in rows.items() if row.heard_at is not None}
    yield _gauge("heard_age_seconds", "Time since the last batch came.", heard)
    yield _gauge("spool_batches", "Batches that wait on the agent.", _column(rows, "spool_batches"))
    yield _gauge("spool_bytes", "Bytes of the agent's spool that wait.", _column(rows, "spool_bytes"))
    yield _gauge("spool_limit_bytes", "Bytes the spool may take.", _column(rows, "spool_bytes_max"))
    yield _gauge(
        "clock_offset_seconds",
        "The agent's wall clock minus the collector's, as its newest batch has it.",
        _column(rows, "clock_offset_us", US_PER_S),
    )
    yield _gauge(
        "clock_offset_error_seconds", "How uncertain that is.", _column(rows, "clock_offset_error_us", US_PER_S)
    )
    yield _gauge(
        "ntp_synchronised", "1 if the agent's kernel believes in its clock.", _column(rows, "ntp_synchronised")
    )
    version = InfoMetricFamily("leadline_agent", "The agent's program.", labels=["agent"])
    for name, row in rows.items():
        if row.version is not None:
            version.add_metric([name], {"version": row.version})
    yield version


def _gauge(name: str, meaning: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"leadline_agent_{name}", meaning, labels=["agent"])
    for agent, value in values.items():
        family.add_metric([agent], value)
    return family


def _column(rows: Mapping[str, AgentNow], name: str, divisor: int = 1) -> dict[str, float]:
    """The agents of which the column is known."""
    values = {agent: getattr(row, name) for agent, row in rows.items()}
    return {agent: value / divisor for agent, value in values.items() if value is not None}
