"""What is true now: the newest state of every pair by every rule, and the newest that is known of every agent."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; the first minute of a collector fills them."""
    op.create_table(
        "pair_now",
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("source_id", "rule_id", "destination_id")),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("known_at", sa.BigInteger),
        sa.Column("p95_us", sa.Integer),
        *(sa.Column(name, sa.SmallInteger, nullable=False) for name in ("good_15", "bad_15", "unavailable_15")),
        sa.Column("simulated", sa.Boolean, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("source_id", "rule_id", "destination_id", name="pk_pair_now"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agent_now",
        sa.Column("src_id", sa.Integer, nullable=False),
        sa.Column("heard_at", sa.BigInteger),
        sa.Column("latest_t", sa.BigInteger),
        sa.Column("version", sa.String(32)),
        *(sa.Column(name, sa.BigInteger) for name in ("spool_batches", "spool_bytes", "spool_bytes_max")),
        *(sa.Column(name, sa.BigInteger) for name in ("clock_offset_us", "clock_offset_error_us")),
        sa.Column("ntp_synchronised", sa.Boolean),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("src_id", name="pk_agent_now"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove them; nothing is lost that is not computed anew within a minute."""
    op.drop_table("agent_now")
    op.drop_table("pair_now")
