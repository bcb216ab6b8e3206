"""What Grafana reads on PostgreSQL: views, one function, and a role that may read them and nothing else.

The judgement is Python's; what it came to minute by minute, by which limits, and between which sites, is kept beside
the tallies, so that no view repeats it. docs/grafana.md has every view and column: they change by adding only.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

log = logging.getLogger("leadline_migrations")

NAME_LENGTH = 63
#: As ``leadline_collector.grafana`` has it; roles belong to the whole server, not to the database.
READER = "leadline_reader"

_NOW = "extract(epoch FROM now())::bigint"
#: What has to have arrived and been compacted: five minutes between rounds, and one more.
_LAG_S = 360
#: Site names, before whatever has a source and a destination site.
_PAIR = (
    "JOIN site s ON s.id = {0}.source_id JOIN site d ON d.id = {0}.destination_id "
    "JOIN rule r ON r.id = {0}.rule_id AND r.complete"
)


def _tally(table: str, minutes: int) -> str:
    """The counts of hours or days that have begun; simulated windows may be there before their time."""
    known = "(h.good + h.bad + h.unavailable)"
    due = f"GREATEST({known}, LEAST({minutes}, ({_NOW} - h.t) / 60))::int"
    return f"""
        SELECT s.name AS source, d.name AS destination, r.profile, h.t, to_timestamp(h.t) AS time, h.good, h.bad,
            h.unavailable, ({due} - {known})::int AS unknown, h.good_best, h.bad_best, h.unavailable_best,
            {due} AS due, h.min_us, h.simulated
        FROM {table} h {_PAIR.format("h")} WHERE h.t <= {_NOW}"""


_PATH = (
    "JOIN agent a ON a.id = w.src_id JOIN site s ON s.id = a.site_id "
    "JOIN target x ON x.id = w.dst_id JOIN site d ON d.id = x.site_id"
)

#: Runs of the same state within an hour. What is unknown and young may still be on its way.
_STATES = f"""
    SELECT s.name AS source, d.name AS destination, r.profile, h.t AS hour_t, h.t + 60 * (run.i - 1) AS t,
        to_timestamp(h.t + 60 * (run.i - 1)) AS time, h.t + 60 * (run.next_i - 1) AS until_t,
        CASE run.letter WHEN 'g' THEN 'good' WHEN 'b' THEN 'bad' WHEN 'x' THEN 'unavailable' ELSE 'unknown' END
            AS state, position(run.letter IN 'gbxu') - 1 AS severity, h.simulated
    FROM tally_hour h {_PAIR.format("h")} CROSS JOIN LATERAL (
        SELECT i, letter, lead(i, 1, 61) OVER (ORDER BY i) AS next_i FROM (
            SELECT i, coalesce(substr(h.states, i, 1), 'g') AS letter
            FROM generate_series(1, CASE WHEN h.states IS NULL THEN 1 ELSE 60 END) i
            WHERE i = 1 OR substr(h.states, i, 1) <> substr(h.states, i - 1, 1)
        ) change
    ) run
    WHERE h.t + 60 * (run.i - 1) <= {_NOW}
        AND NOT (run.letter = 'u' AND h.t + 3600 > {_NOW} AND h.t + 60 * (run.i - 1) > {_NOW} - {_LAG_S})"""

#: Runs that are at most two windows apart are one episode (``tallies.MERGE_GAP``; a test compares).
_EPISODES = """
    SELECT source, destination, profile, min(t) AS t, to_timestamp(min(t)) AS time,
        to_timestamp(max(until_t)) AS time_end, max(until_t) AS until_t, sum((until_t - t) / 60)::int AS windows,
        coalesce(sum((until_t - t) / 60) FILTER (WHERE state = 'unavailable'), 0)::int AS unavailable,
        bool_or(simulated) AS simulated
    FROM (
        SELECT *, count(*) FILTER (WHERE begins) OVER (PARTITION BY source, destination, profile ORDER BY t) AS number
        FROM (
            SELECT *, t - lag(until_t, 1, 0::bigint) OVER (PARTITION BY source, destination, profile ORDER BY t) > 120
                AS begins
            FROM grafana_state WHERE state IN ('bad', 'unavailable')
        ) run
    ) run GROUP BY source, destination, profile, number"""

VIEWS = {
    "grafana_pair": """
        SELECT s.name AS source, d.name AS destination, f.distance_km, f.vacuum_ns / 1000.0 AS vacuum_us,
            f.glass_ns / 1000.0 AS glass_us, f.simulated
        FROM pair_floor f JOIN site s ON s.id = f.source_id JOIN site d ON d.id = f.destination_id""",
    "grafana_profile": """
        SELECT r.profile, coalesce(min(l.title), r.profile) AS title
        FROM rule r LEFT JOIN profile_limit l ON l.profile = r.profile WHERE r.complete GROUP BY r.profile""",
    "grafana_limit": """
        SELECT profile, title, place, limit_id, vendor, product, measure, comparison, limit_us, peak_us, bounds_rtt,
            rule, source_url FROM profile_limit""",
    "grafana_pair_hour": _tally("tally_hour", 60),
    "grafana_pair_day": _tally("tally_day", 1_440),
    "grafana_unsettled_day": """
        SELECT s.name AS source, m.t FROM mark_day m JOIN site s ON s.id = m.source_id
        UNION
        SELECT s.name, h.t - h.t % 86400
        FROM mark_hour h JOIN agent a ON a.id = h.src_id JOIN site s ON s.id = a.site_id""",
    "grafana_state": _STATES,
    "grafana_episode": _EPISODES,
    "grafana_pair_minute": f"""
        SELECT s.name AS source, d.name AS destination, w.t, to_timestamp(w.t) AS time, min(w.min_us) AS min_us,
            max(w.p50_us) AS p50_us, max(w.p95_us) AS p95_us, max(w.max_us) AS max_us, max(w.pdv_us) AS pdv_us,
            sum(w.expected)::int AS expected, sum(w.sent)::int AS sent, sum(w.received)::int AS received,
            bool_or(w.p95_us IS NULL AND w.sent > 0) AS p95_infinite, bool_or(w.epoch IS NULL) AS simulated
        FROM window_stat w {_PATH} WHERE w.t <= {_NOW} GROUP BY s.name, d.name, w.t""",
    "grafana_pair_now": f"""
        SELECT s.name AS source, d.name AS destination, r.profile, n.t, to_timestamp(n.t) AS time, n.state,
            CASE WHEN n.updated_at < {_NOW} - 300 THEN 'unknown' ELSE n.state END AS state_now,
            to_timestamp(n.since) AS since, to_timestamp(n.known_at) AS known_at,
            greatest(0, {_NOW} - coalesce(n.known_at + 60, n.t - 86400)) AS silent_s, n.p95_us, n.good_15, n.bad_15,
            n.unavailable_15, 15 - n.good_15 - n.bad_15 - n.unavailable_15 AS unknown_15, n.simulated,
            to_timestamp(n.updated_at) AS updated_at, n.updated_at >= {_NOW} - 300 AS is_current
        FROM pair_now n {_PAIR.format("n")}""",
    "grafana_agent": f"""
        SELECT a.name AS agent, s.name AS site, to_timestamp(n.heard_at) AS heard_at,
            {_NOW} - n.heard_at AS silent_s, to_timestamp(n.latest_t) AS latest, {_NOW} - n.latest_t - 60 AS behind_s,
            n.version, n.spool_batches, n.spool_bytes, n.spool_bytes_max, n.clock_offset_us, n.clock_offset_error_us,
            n.ntp_synchronised, to_timestamp(n.updated_at) AS updated_at
        FROM mesh_agent m JOIN agent a ON a.id = m.agent_id JOIN site s ON s.id = a.site_id
        LEFT JOIN agent_now n ON n.src_id = a.id""",
    "grafana_gap": """
        SELECT a.name AS agent, s.name AS site, g.reason, g.from_s AS t, to_timestamp(g.from_s) AS time,
            to_timestamp(g.to_s) AS time_end, g.to_s AS until_t, g.windows, g.source,
            to_timestamp(g.noted_at) AS noted_at
        FROM gap g JOIN agent a ON a.id = g.src_id JOIN site s ON s.id = a.site_id""",
    "grafana_batch": """
        SELECT a.name AS agent, s.name AS site, b.t_last, to_timestamp(b.t_last) AS time,
            b.received_at, b.received_at - b.t_last - 60 AS delay_s
        FROM batch b JOIN agent a ON a.id = b.src_id JOIN site s ON s.id = a.site_id WHERE b.t_last IS NOT NULL""",
}  # fmt: skip


def _share() -> str:
    """Whole hours of a period counted: days where these are settled, hours elsewhere."""
    last = f"LEAST(to_s, {_NOW} - 300) / 3600 * 3600"
    first = f"LEAST(from_s / 3600 * 3600, {last} - 3600)"
    first_day = f"LEAST(({first} + 86399) / 86400 * 86400, {last})"
    last_day = f"GREATEST({last} / 86400 * 86400, {first_day})"
    columns = "source, destination, good, bad, unavailable, good_best, bad_best, unavailable_best, min_us, simulated"
    of_hour = ", ".join(f"h.{name}" for name in columns.split(", "))
    counts = ("good", "bad", "unavailable", "good_best", "bad_best", "unavailable_best")
    sums = ", ".join(f"sum(c.{name})::bigint AS {name}" for name in counts)
    return f"""
    CREATE FUNCTION grafana_share(profile_id text, from_s bigint, to_s bigint)
    RETURNS TABLE (source text, destination text, windows bigint, good bigint, bad bigint, unavailable bigint,
        unknown bigint, good_best bigint, observed double precision, pessimistic double precision,
        optimistic double precision, coverage double precision, min_us integer, simulated boolean, first_t bigint,
        last_t bigint)
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
        SELECT p.source, p.destination, p.windows, p.good, p.bad, p.unavailable,
            p.windows - p.good - p.bad - p.unavailable, p.good_best,
            p.good::float8 / nullif(p.good + p.bad + p.unavailable, 0), p.good::float8 / p.windows,
            (p.windows - p.bad_best - p.unavailable_best)::float8 / p.windows,
            (p.good + p.bad + p.unavailable)::float8 / p.windows, p.min_us, p.simulated, {first}, {last}
        FROM (
            SELECT c.source, c.destination, ({last} - ({first})) / 60 AS windows, {sums}, min(c.min_us) AS min_us,
                bool_or(c.simulated) AS simulated
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
    """Make the tables on both databases, and on PostgreSQL the views, the function and the role."""
    op.create_table(
        "pair_floor",
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("destination_id", sa.Integer, nullable=False),
        sa.Column("distance_km", sa.Float(53), nullable=False),
        sa.Column("vacuum_ns", sa.BigInteger, nullable=False),
        sa.Column("glass_ns", sa.BigInteger, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("source_id", "destination_id", name="pk_pair_floor"),
    )
    op.create_table(
        "profile_limit",
        sa.Column("profile", sa.String(NAME_LENGTH), nullable=False),
        sa.Column("place", sa.SmallInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("title", "limit_id", "vendor", "product")),
        *(sa.Column(name, sa.String(16), nullable=False) for name in ("measure", "comparison")),
        sa.Column("limit_us", sa.Integer, nullable=False),
        sa.Column("peak_us", sa.Integer),
        sa.Column("bounds_rtt", sa.Boolean, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("source_url", sa.Text),
        sa.PrimaryKeyConstraint("profile", "place", name="pk_profile_limit"),
    )
    op.create_table(
        "mesh_agent",
        sa.Column("agent_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", name="pk_mesh_agent"),
    )
    op.add_column("tally_hour", sa.Column("states", sa.String(60)))
    # Every hour is counted anew, once, because its states were not kept; until then answers come from the windows.
    op.execute("UPDATE rule SET complete = (1 = 0)")
    if op.get_bind().dialect.name == "postgresql":
        for name, query in VIEWS.items():
            op.execute(f"CREATE VIEW {name} AS {query}")
        op.execute(_share())
        _grant()


def _grant() -> None:
    """The role, if it is there or may be made; else the migration goes on without it and says what is left to do."""
    bind = op.get_bind()
    there = bind.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": READER}).scalar()
    may = bind.execute(
        sa.text("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
    ).scalar_one()
    if not there and not may:
        log.warning(
            "the role %s does not exist and this user may not create it: Grafana cannot read yet. As one who may, run "
            "CREATE ROLE %s NOLOGIN; and then `leadline collector grant-reader`",
            READER,
            READER,
        )
        return
    if not there:
        # Two databases of a server may be migrated at once, and the role is the server's.
        op.execute(
            f"DO $$ BEGIN CREATE ROLE {READER} NOLOGIN; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    op.execute(f"GRANT SELECT ON {', '.join(VIEWS)} TO {READER}")


def downgrade() -> None:
    """Remove all but the role, which other databases of the server may use."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION grafana_share(text, bigint, bigint)")
        for name in reversed(VIEWS):
            op.execute(f"DROP VIEW {name}")
    op.drop_column("tally_hour", "states")
    for table in ("mesh_agent", "profile_limit", "pair_floor"):
        op.drop_table(table)
