"""Gaps, the count of batches of each epoch, quarantine, and the clocks of the agent beside each batch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CLOCKS = (
    "sealed_at_us", "monotonic_us", "boottime_us", "ntp_offset_us", "ntp_max_error_us", "ntp_estimated_error_us",
    "clock_offset_us", "clock_offset_error_us",
)  # fmt: skip


def upgrade() -> None:
    """Add the columns and the tables; the count of what is stored already is taken from the journal."""
    for name in CLOCKS:
        op.add_column("batch", sa.Column(name, sa.BigInteger))
    op.add_column("batch", sa.Column("boot_id", sa.String(36)))
    op.add_column("batch", sa.Column("ntp_synchronised", sa.Boolean))
    _ledger()
    _gap()
    _quarantine()


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("src_id", sa.Integer, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("batches", sa.BigInteger, nullable=False),
        sa.Column("seq_max", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("src_id", "epoch", name="pk_ledger"),
        sa.ForeignKeyConstraint(["src_id"], ["agent.id"], name="fk_ledger_src_id_agent"),
    )
    op.execute(
        "INSERT INTO ledger (src_id, epoch, batches, seq_max) "
        "SELECT src_id, epoch, count(*), max(seq) FROM batch GROUP BY src_id, epoch"
    )


def _gap() -> None:
    op.create_table(
        "gap",
        sa.Column("src_id", sa.Integer, nullable=False),
        sa.Column("told_epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("told_seq", sa.BigInteger, nullable=False),
        sa.Column("place", sa.SmallInteger, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("noted_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("from_s", sa.BigInteger, nullable=False),
        sa.Column("to_s", sa.BigInteger, nullable=False),
        sa.Column("windows", sa.BigInteger),
        sa.Column("epoch", sa.LargeBinary(16)),
        sa.Column("first_seq", sa.BigInteger),
        sa.Column("last_seq", sa.BigInteger),
        sa.PrimaryKeyConstraint("src_id", "told_epoch", "told_seq", "place", name="pk_gap"),
        sa.ForeignKeyConstraint(["src_id"], ["agent.id"], name="fk_gap_src_id_agent"),
    )
    op.create_index("ix_gap_src_id_to_s", "gap", ["src_id", "to_s"])


def _quarantine() -> None:
    op.create_table(
        "quarantine",
        sa.Column("src_id", sa.Integer, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("path", sa.String(64), nullable=False),
        sa.Column("windows", sa.Integer, nullable=False),
        sa.Column("t_first", sa.BigInteger, nullable=False),
        sa.Column("t_last", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("src_id", "epoch", "seq", name="pk_quarantine"),
        sa.ForeignKeyConstraint(["src_id"], ["agent.id"], name="fk_quarantine_src_id_agent"),
    )
    op.create_index("ix_quarantine_src_id_received_at", "quarantine", ["src_id", "received_at"])


def downgrade() -> None:
    """Remove them; what agents told of gaps is lost, and what was in quarantine is only in the journal."""
    for table in ("quarantine", "gap", "ledger"):
        op.drop_table(table)
    with op.batch_alter_table("batch") as batch:
        for name in (*CLOCKS, "boot_id", "ntp_synchronised"):
            batch.drop_column(name)
