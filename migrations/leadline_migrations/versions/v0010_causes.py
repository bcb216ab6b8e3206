"""Adds causes and provenance: a statistic of windows, counts by cause, marks of the data, and what Grafana reads.

The new columns are NULL, 0 or false in existing rows, so no table is rewritten. A new evaluation version makes the
rollup worker count every hour again, which fills the counts and marks. Packed hours stay as they are.

Collectors of the version before continue to store on this schema. They cannot read the hours that a new collector has
packed, so restart all collectors of a database together.
"""

from __future__ import annotations

import zlib

import sqlalchemy as sa
from alembic import op

from leadline_migrations.versions.v0008_grafana import READER, VIEWS

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

CAUSE_COUNTS = ("bad_loss", "bad_latency", "bad_both")
RECENT_CAUSE_COUNTS = tuple(f"{name}_15" for name in CAUSE_COUNTS)
CAUSE_LENGTH = 16
#: Marks of ``pair_now``: imported windows, and replies faster than light.
CURRENT_MARKS = ("imported", "invalid")

_NOW = "extract(epoch FROM now())::bigint"
#: Time until a minute has arrived and is compacted.
_LAG_S = 360
_PAIR = (
    "JOIN site s ON s.id = {0}.source_id JOIN site d ON d.id = {0}.destination_id "
    "JOIN rule r ON r.id = {0}.rule_id AND r.complete"
)


def _build_counts_view(table: str, minutes: int) -> str:
    """Return the query of the counts of hours or days that have begun."""
    known = "(h.good + h.bad + h.unavailable)"
    due = f"GREATEST({known}, LEAST({minutes}, ({_NOW} - h.t) / 60))::int"
    return f"""
        SELECT s.name AS source, d.name AS destination, r.profile, h.t, to_timestamp(h.t) AS time, h.good, h.bad,
            h.unavailable, ({due} - {known})::int AS unknown, h.good_best, h.bad_best, h.unavailable_best,
            {due} AS due, h.min_us, h.simulated, {", ".join(f"h.{name}" for name in CAUSE_COUNTS)}, h.imported,
            h.expected_min
        FROM {table} h {_PAIR.format("h")} WHERE h.t <= {_NOW}"""


#: Runs of the same state and cause within an hour. A young unknown minute may still arrive. In hours that were counted
#: before this schema, b is a bad minute of any cause.
_STATES = f"""
    SELECT s.name AS source, d.name AS destination, r.profile, h.t AS hour_t, h.t + 60 * (run.i - 1) AS t,
        to_timestamp(h.t + 60 * (run.i - 1)) AS time, h.t + 60 * (run.next_i - 1) AS until_t,
        CASE WHEN run.letter = 'g' THEN 'good' WHEN run.letter IN ('b', 't', 'l') THEN 'bad'
            WHEN run.letter = 'x' THEN 'unavailable' ELSE 'unknown' END AS state,
        CASE WHEN run.letter = 'g' THEN 0 WHEN run.letter IN ('b', 't', 'l') THEN 1
            WHEN run.letter = 'x' THEN 2 ELSE 3 END AS severity, h.simulated,
        CASE run.letter WHEN 'b' THEN 'both' WHEN 't' THEN 'latency' WHEN 'l' THEN 'loss' WHEN 'x' THEN 'outage' END
            AS cause, h.imported
    FROM tally_hour h {_PAIR.format("h")} CROSS JOIN LATERAL (
        SELECT i, letter, lead(i, 1, 61) OVER (ORDER BY i) AS next_i FROM (
            SELECT i, coalesce(substr(h.states, i, 1), 'g') AS letter
            FROM generate_series(1, CASE WHEN h.states IS NULL THEN 1 ELSE 60 END) i
            WHERE i = 1 OR substr(h.states, i, 1) <> substr(h.states, i - 1, 1)
        ) change
    ) run
    WHERE h.t + 60 * (run.i - 1) <= {_NOW}
        AND NOT (run.letter = 'u' AND h.t + 3600 > {_NOW} AND h.t + 60 * (run.i - 1) > {_NOW} - {_LAG_S})"""


def _count_windows(condition: str) -> str:
    return f"coalesce(sum((until_t - t) / 60) FILTER (WHERE {condition}), 0)::int"


#: Runs that are at most two windows apart are one episode.
_EPISODES = f"""
    SELECT source, destination, profile, min(t) AS t, to_timestamp(min(t)) AS time,
        to_timestamp(max(until_t)) AS time_end, max(until_t) AS until_t, sum((until_t - t) / 60)::int AS windows,
        {_count_windows("state = 'unavailable'")} AS unavailable, bool_or(simulated) AS simulated,
        {_count_windows("cause = 'loss'")} AS bad_loss, {_count_windows("cause = 'latency'")} AS bad_latency,
        {_count_windows("cause = 'both'")} AS bad_both, bool_or(imported) AS imported
    FROM (
        SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY source, destination, profile ORDER BY t) AS number
        FROM (
            SELECT *, t - lag(until_t, 1, 0::bigint) OVER (PARTITION BY source, destination, profile ORDER BY t) > 120
                AS begins
            FROM grafana_state WHERE state IN ('bad', 'unavailable')
        ) run
    ) run GROUP BY source, destination, profile, number"""

_PAIR_NOW = f"""
    SELECT s.name AS source, d.name AS destination, r.profile, n.t, to_timestamp(n.t) AS time, n.state,
        CASE WHEN n.updated_at < {_NOW} - 300 THEN 'unknown' WHEN n.invalid THEN 'invalid' ELSE n.state END
            AS state_now,
        to_timestamp(n.since) AS since, to_timestamp(n.known_at) AS known_at,
        greatest(0, {_NOW} - coalesce(n.known_at + 60, n.t - 86400)) AS silent_s, n.p95_us, n.good_15, n.bad_15,
        n.unavailable_15, 15 - n.good_15 - n.bad_15 - n.unavailable_15 AS unknown_15, n.simulated,
        to_timestamp(n.updated_at) AS updated_at, n.updated_at >= {_NOW} - 300 AS is_current,
        CASE WHEN n.updated_at >= {_NOW} - 300 AND NOT n.invalid THEN n.cause END AS cause_now,
        {", ".join(f"n.{name}" for name in RECENT_CAUSE_COUNTS)}, n.imported, n.invalid
    FROM pair_now n {_PAIR.format("n")}"""

_LIMIT = """
    SELECT profile, title, place, limit_id, vendor, product, measure, comparison, limit_us, peak_us, bounds_rtt,
        rule, source_url, reservations FROM profile_limit"""

#: Views with columns added at their end, in the order of their dependencies.
EXTENDED_VIEWS = {
    "grafana_limit": _LIMIT,
    "grafana_pair_hour": _build_counts_view("tally_hour", 60),
    "grafana_pair_day": _build_counts_view("tally_day", 1_440),
    "grafana_state": _STATES,
    "grafana_episode": _EPISODES,
    "grafana_pair_now": _PAIR_NOW,
}

_STATE_COUNTS = ("good", "bad", "unavailable", "good_best", "bad_best", "unavailable_best")
SHARE_SIGNATURE = "grafana_share(text, bigint, bigint)"


def _build_share_function(cause_counts: tuple[str, ...], *, has_provenance: bool) -> str:
    """Return the function that counts whole hours of a period: from settled days, elsewhere from hours."""
    marks = ("imported", "expected_min") if has_provenance else ()
    last = f"LEAST(to_s, {_NOW} - 300) / 3600 * 3600"
    first = f"LEAST(from_s / 3600 * 3600, {last} - 3600)"
    first_day = f"LEAST(({first} + 86399) / 86400 * 86400, {last})"
    last_day = f"GREATEST({last} / 86400 * 86400, {first_day})"
    counts = (*_STATE_COUNTS, *cause_counts)
    names = ("source", "destination", *counts, "min_us", "simulated", *marks)
    columns, of_hour = ", ".join(names), ", ".join(f"h.{name}" for name in names)
    sums = ", ".join(f"sum(c.{name})::bigint AS {name}" for name in counts)
    declared = "".join(f", {name} bigint" for name in cause_counts)
    selected = "".join(f", p.{name}" for name in (*cause_counts, *marks))
    mark_types = ", imported boolean, expected_min smallint" if marks else ""
    mark_values = ", bool_or(c.imported) AS imported, min(c.expected_min) AS expected_min" if marks else ""
    return f"""
    CREATE FUNCTION grafana_share(profile_id text, from_s bigint, to_s bigint)
    RETURNS TABLE (source text, destination text, windows bigint, good bigint, bad bigint, unavailable bigint,
        unknown bigint, good_best bigint, observed double precision, pessimistic double precision,
        optimistic double precision, coverage double precision, min_us integer, simulated boolean, first_t bigint,
        last_t bigint{declared}{mark_types})
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT p.source, p.destination, p.windows, p.good, p.bad, p.unavailable,
            p.windows - p.good - p.bad - p.unavailable, p.good_best,
            p.good::float8 / nullif(p.good + p.bad + p.unavailable, 0), p.good::float8 / p.windows,
            (p.windows - p.bad_best - p.unavailable_best)::float8 / p.windows,
            (p.good + p.bad + p.unavailable)::float8 / p.windows, p.min_us, p.simulated, {first}, {last}{selected}
        FROM (
            SELECT c.source, c.destination, ({last} - ({first})) / 60 AS windows, {sums}, min(c.min_us) AS min_us,
                bool_or(c.simulated) AS simulated{mark_values}
            FROM (
                SELECT {columns} FROM grafana_pair_day
                WHERE profile = profile_id AND t >= {first_day} AND t < {last_day}
                    AND (source, t) NOT IN (SELECT u.source, u.t FROM grafana_unsettled_day u)
                UNION ALL
                SELECT {columns} FROM grafana_pair_hour WHERE profile = profile_id AND t >= {first} AND t < {first_day}
                UNION ALL
                SELECT {columns} FROM grafana_pair_hour WHERE profile = profile_id AND t >= {last_day} AND t < {last}
                UNION ALL
                SELECT {of_hour} FROM grafana_unsettled_day u JOIN grafana_pair_hour h
                    ON h.source = u.source AND h.t >= u.t AND h.t < u.t + 86400
                WHERE h.profile = profile_id AND u.t >= {first_day} AND u.t < {last_day}
                    AND h.t >= {first_day} AND h.t < {last_day}
            ) c GROUP BY c.source, c.destination
        ) p
    $$"""


def upgrade() -> None:
    """Add the columns; on PostgreSQL extend the views and the function."""
    op.add_column("window_stat", sa.Column("latency_p95_us", sa.Integer))
    for table in ("tally_hour", "tally_day"):
        for name in CAUSE_COUNTS:
            op.add_column(table, sa.Column(name, sa.SmallInteger, nullable=False, server_default="0"))
        op.add_column(table, sa.Column("imported", sa.Boolean, nullable=False, server_default=sa.false()))
        op.add_column(table, sa.Column("expected_min", sa.SmallInteger))
    op.add_column("pair_now", sa.Column("cause", sa.String(CAUSE_LENGTH)))
    for name in RECENT_CAUSE_COUNTS:
        op.add_column("pair_now", sa.Column(name, sa.SmallInteger, nullable=False, server_default="0"))
    op.add_column("profile_limit", sa.Column("reservations", sa.Text))
    for name in CURRENT_MARKS:
        op.add_column("pair_now", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
    if _is_postgresql():
        for name, query in EXTENDED_VIEWS.items():
            op.execute(f"CREATE OR REPLACE VIEW {name} AS {query}")
        op.execute(f"DROP FUNCTION {SHARE_SIGNATURE}")
        op.execute(_build_share_function(CAUSE_COUNTS, has_provenance=True))


def downgrade() -> None:
    """Remove the columns, and pack every hour as before. All hours are counted again by the collectors of before."""
    if _is_postgresql():
        _restore_views()
    for table in ("tally_hour", "tally_day"):
        for name in (*CAUSE_COUNTS, "imported", "expected_min"):
            op.drop_column(table, name)
    for name in ("cause", *RECENT_CAUSE_COUNTS, *CURRENT_MARKS):
        op.drop_column("pair_now", name)
    op.drop_column("profile_limit", "reservations")
    op.drop_column("window_stat", "latency_p95_us")
    # The letters of the states by cause are unknown to the views of before.
    op.execute("UPDATE rule SET complete = (1 = 0)")
    _pack_hours_as_before()


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def _restore_views() -> None:
    op.execute(f"DROP FUNCTION {SHARE_SIGNATURE}")
    for name in reversed(EXTENDED_VIEWS):
        op.execute(f"DROP VIEW {name}")
    for name in EXTENDED_VIEWS:
        op.execute(f"CREATE VIEW {name} AS {VIEWS[name]}")
    op.execute(_build_share_function((), has_provenance=False))
    has_reader = op.get_bind().execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": READER})
    if has_reader.scalar():
        op.execute(f"GRANT SELECT ON {', '.join(EXTENDED_VIEWS)} TO {READER}")


#: Layout of a packed hour: four planes with the bytes of 60 numbers per column, then one bit per nullable number.
_MINUTES, _PLANES = 60, 4
_COLUMNS, _COLUMNS_BEFORE = 12, 11
_FLAG_BITS_BEFORE = (_COLUMNS_BEFORE - 3) * _MINUTES
_RAW_DEFLATE_WBITS = -zlib.MAX_WBITS


def _pack_hours_as_before() -> None:
    """Remove the last column from packed hours and latest windows, path by path."""
    bind = op.get_bind()
    hour = sa.table("rollup_hour", *map(sa.column, ("src_id", "dst_id", "t", "packed", "latest")))
    path = sa.and_(hour.c.src_id == sa.bindparam("src"), hour.c.dst_id == sa.bindparam("dst"))
    query = sa.select(hour.c.t, hour.c.packed, hour.c.latest).where(path)
    update = (
        sa.update(hour)
        .where(path, hour.c.t == sa.bindparam("time"))
        .values(packed=sa.bindparam("hour"), latest=sa.bindparam("window"))
    )
    paths = bind.execute(sa.text("SELECT a.id, x.id FROM agent a CROSS JOIN target x")).all()
    for src_id, dst_id in paths:
        rows = [
            {"src": src_id, "dst": dst_id, "time": t, "hour": _pack_before(packed), "window": latest[:_LATEST_BEFORE]}
            for t, packed, latest in bind.execute(query, {"src": src_id, "dst": dst_id})
            if packed[:1] == b"\x02"
        ]
        if rows:
            bind.execute(update, rows)


#: Bytes of a latest window: the minute and the columns.
_LATEST_BEFORE = 4 * (1 + _COLUMNS_BEFORE)


def _pack_before(packed: bytes) -> bytes:
    """Return an hour of version 2 as version 1."""
    data = zlib.decompress(packed[1:], _RAW_DEFLATE_WBITS)
    width, width_before = _COLUMNS * _MINUTES, _COLUMNS_BEFORE * _MINUTES
    planes = b"".join(data[plane * width : plane * width + width_before] for plane in range(_PLANES))
    flags = data[_PLANES * width :][: _FLAG_BITS_BEFORE // 8]
    deflater = zlib.compressobj(1, zlib.DEFLATED, _RAW_DEFLATE_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return b"\x01" + deflater.compress(planes + flags) + deflater.flush()
