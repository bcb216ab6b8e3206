"""Removes the day rollups of paths and the episode columns of ``tally_day``: no product code reads them.

Collectors of the version before write both once a day. They continue to store and to answer on this schema, but their
daily compaction fails until they are restarted; retention and new profiles wait too. The new collectors then do this
work. Views and answers need neither.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COUNTS = (
    "timeout", "late", "unreachable", "send_error", "local_drop", "local_stall", "not_sent", "resolve_error",
)  # fmt: skip
EPISODES = (
    "bad_episodes", "bad_lead", "bad_trail", "good_episodes", "good_lead", "good_trail",
    "bad_episodes_best", "bad_lead_best", "bad_trail_best", "good_episodes_best", "good_lead_best", "good_trail_best",
)  # fmt: skip
#: SQLite copies the table once for all columns; the copy has no rowid either.
_OPTIONS = {"sqlite_with_rowid": False}

#: Collectors of the version before compute the day rollups and the episodes of every marked day.
MARK_ALL_DAYS = (
    "INSERT INTO mark_day (source_id, t) "
    "SELECT DISTINCT a.site_id, h.t - h.t % 86400 FROM rollup_hour h JOIN agent a ON a.id = h.src_id "
    "WHERE NOT EXISTS (SELECT 1 FROM mark_day m WHERE m.source_id = a.site_id AND m.t = h.t - h.t % 86400)"
)


def upgrade() -> None:
    """Drop the table and the columns; PostgreSQL changes its catalogue only."""
    op.drop_table("rollup_day")
    with op.batch_alter_table("tally_day", table_kwargs=_OPTIONS) as tally_day:
        for name in EPISODES:
            tally_day.drop_column(name)


def downgrade() -> None:
    """Create both without their contents, and mark every day so that these are computed again."""
    op.create_table(
        "rollup_day",
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("src_id", "dst_id")),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("windows", sa.SmallInteger, nullable=False),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("expected", "sent", "received")),
        sa.Column("duplicates", sa.BigInteger, nullable=False),
        *(sa.Column(f"{name}_count", sa.Integer, nullable=False) for name in COUNTS),
        sa.Column("min_us", sa.Integer),
        sa.Column("max_us", sa.Integer),
        sa.Column("sum_us", sa.BigInteger),
        sa.Column("rtt_histogram", sa.LargeBinary),
        sa.Column("p95_histogram", sa.LargeBinary, nullable=False),
        sa.Column("p95_infinite", sa.SmallInteger, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("src_id", "dst_id", "t", name="pk_rollup_day"),
    )
    with op.batch_alter_table("tally_day", table_kwargs=_OPTIONS) as tally_day:
        for name in EPISODES:
            tally_day.add_column(sa.Column(name, sa.SmallInteger, nullable=False, server_default="0"))
    with op.batch_alter_table("tally_day", table_kwargs=_OPTIONS) as tally_day:
        for name in EPISODES:
            tally_day.alter_column(name, server_default=None)
    op.execute(MARK_ALL_DAYS)
