"""What months are kept in: marks, chunks of raw round trips, rollups, and tallies of states."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

NAME_LENGTH = 63
COUNTS = (
    "timeout", "late", "unreachable", "send_error", "local_drop", "local_stall", "not_sent", "resolve_error",
)  # fmt: skip
STATES = ("good", "bad", "unavailable", "good_best", "bad_best", "unavailable_best")
EPISODES = (
    "bad_episodes", "bad_lead", "bad_trail", "good_episodes", "good_lead", "good_trail",
    "bad_episodes_best", "bad_lead_best", "bad_trail_best", "good_episodes_best", "good_lead_best", "good_trail_best",
)  # fmt: skip

#: Everything that is stored already waits for its first compaction.
MARK_ALL = (
    "INSERT INTO mark_hour (src_id, t, version, since) "
    "SELECT src_id, t - t % 3600, 1, t - t % 3600 FROM window_stat GROUP BY src_id, t - t % 3600"
)


def upgrade() -> None:
    """Make the tables, and mark every hour that has windows."""
    _marks()
    _chunk()
    hour = [sa.Column(name, sa.LargeBinary, nullable=False) for name in ("packed", "latest")]
    _rollup("rollup_hour", *hour, postgresql_partition_by="RANGE (t)")
    _rollup("rollup_day")
    op.create_table(
        "rule",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("profile", sa.String(NAME_LENGTH), nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("complete", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_rule"),
        sa.UniqueConstraint("sha256", name="uq_rule_sha256"),
    )
    _tally("tally_hour", postgresql_partition_by="RANGE (t)")
    _tally("tally_day", *(sa.Column(name, sa.SmallInteger, nullable=False) for name in EPISODES))
    has_body = sa.text("length(body) > 0")
    op.create_index("ix_batch_body", "batch", ["src_id", "t_last"], sqlite_where=has_body, postgresql_where=has_body)
    op.execute(MARK_ALL)


def _marks() -> None:
    op.create_table(
        "mark_hour",
        sa.Column("src_id", sa.Integer, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("src_id", "t", name="pk_mark_hour"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "mark_day",
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("source_id", "t", name="pk_mark_day"),
        sqlite_with_rowid=False,
    )


def _chunk() -> None:
    op.create_table(
        "chunk",
        *_path(),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("src_id", "dst_id", "t", name="pk_chunk"),
        postgresql_partition_by="RANGE (t)",
    )
    if op.get_bind().dialect.name == "postgresql":
        # Bodies are compressed: PostgreSQL would try again, in vain, for every one of them.
        op.execute("ALTER TABLE chunk ALTER COLUMN body SET STORAGE EXTERNAL")


def _path() -> list[sa.Column[int]]:
    return [
        sa.Column("src_id", sa.Integer, nullable=False),
        sa.Column("dst_id", sa.Integer, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
    ]


def _rollup(name: str, *more: sa.Column[bytes], **options: Any) -> None:
    op.create_table(
        name,
        *_path(),
        sa.Column("windows", sa.SmallInteger, nullable=False),
        *(sa.Column(one, sa.Integer, nullable=False) for one in ("expected", "sent", "received")),
        sa.Column("duplicates", sa.BigInteger, nullable=False),
        *(sa.Column(f"{one}_count", sa.Integer, nullable=False) for one in COUNTS),
        sa.Column("min_us", sa.Integer),
        sa.Column("max_us", sa.Integer),
        sa.Column("sum_us", sa.BigInteger),
        sa.Column("rtt_histogram", sa.LargeBinary),
        sa.Column("p95_histogram", sa.LargeBinary, nullable=False),
        sa.Column("p95_infinite", sa.SmallInteger, nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        *more,
        sa.PrimaryKeyConstraint("src_id", "dst_id", "t", name=f"pk_{name}"),
        **options,
    )


def _tally(name: str, *more: sa.Column[int], **options: Any) -> None:
    op.create_table(
        name,
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("rule_id", sa.Integer, nullable=False),
        sa.Column("destination_id", sa.Integer, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        *(sa.Column(one, sa.SmallInteger, nullable=False) for one in STATES),
        sa.Column("min_us", sa.Integer),
        sa.Column("simulated", sa.Boolean, nullable=False),
        *more,
        sa.PrimaryKeyConstraint("source_id", "rule_id", "destination_id", "t", name=f"pk_{name}"),
        sqlite_with_rowid=False,
        **options,
    )


def downgrade() -> None:
    """Remove them: what retention took from ``window_stat`` and the journal is lost with them."""
    op.drop_index("ix_batch_body", "batch")
    for table in ("tally_day", "tally_hour", "rule", "rollup_day", "rollup_hour", "chunk", "mark_day", "mark_hour"):
        op.drop_table(table)
