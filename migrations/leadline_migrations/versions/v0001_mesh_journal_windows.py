"""Sites, agents, targets, mesh versions, credentials, the journal and the window statistics."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME_LENGTH = 63
COUNTS = (
    "timeout", "late", "unreachable", "send_error", "local_drop", "local_stall", "not_sent", "resolve_error",
)  # fmt: skip


def upgrade() -> None:
    """Make the tables."""
    _names()
    _credentials()
    _journal()
    _windows()


def _names() -> None:
    op.create_table(
        "site",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(NAME_LENGTH), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_site"),
        sa.UniqueConstraint("name", name="uq_site_name"),
    )
    for table in ("agent", "target"):
        op.create_table(
            table,
            sa.Column("id", sa.Integer, nullable=False),
            sa.Column("name", sa.String(NAME_LENGTH), nullable=False),
            sa.Column("site_id", sa.Integer, nullable=False),
            sa.PrimaryKeyConstraint("id", name=f"pk_{table}"),
            sa.UniqueConstraint("name", name=f"uq_{table}_name"),
            sa.ForeignKeyConstraint(["site_id"], ["site.id"], name=f"fk_{table}_site_id_site"),
        )
    op.create_table(
        "mesh_version",
        sa.Column("version", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("applied_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("version", name="pk_mesh_version"),
    )


def _credentials() -> None:
    op.create_table(
        "enrol_token",
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("site_id", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("sha256", name="pk_enrol_token"),
        sa.ForeignKeyConstraint(["site_id"], ["site.id"], name="fk_enrol_token_site_id_site"),
    )
    op.create_table(
        "agent_key",
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("agent_id", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("sha256", name="pk_agent_key"),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name="fk_agent_key_agent_id_agent"),
    )
    op.create_index("ix_agent_key_agent_id", "agent_key", ["agent_id"])
    op.create_table(
        "admin_key",
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name="pk_admin_key"),
    )


def _journal() -> None:
    op.create_table(
        "batch",
        sa.Column("src_id", sa.Integer, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False),
        sa.Column("mesh_version", sa.BigInteger, nullable=False),
        sa.Column("t_first", sa.BigInteger),
        sa.Column("t_last", sa.BigInteger),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("src_id", "epoch", "seq", name="pk_batch"),
        sa.ForeignKeyConstraint(["src_id"], ["agent.id"], name="fk_batch_src_id_agent"),
    )
    op.create_index("ix_batch_src_id_t_last", "batch", ["src_id", "t_last"])


def _windows() -> None:
    microseconds = ("min", "mean", "p50", "p95", "p99", "max", "pdv", "mean_step")
    op.create_table(
        "window_stat",
        sa.Column("src_id", sa.Integer, nullable=False),
        sa.Column("dst_id", sa.Integer, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("interval_ms", sa.Integer, nullable=False),
        *(sa.Column(name, sa.SmallInteger, nullable=False) for name in ("expected", "sent", "received")),
        *(sa.Column(f"{name}_us", sa.Integer) for name in microseconds),
        sa.Column("duplicates", sa.Integer, nullable=False),
        *(sa.Column(f"{name}_count", sa.SmallInteger, nullable=False) for name in COUNTS),
        sa.Column("error_p50_us", sa.Integer),
        sa.Column("error_p99_us", sa.Integer),
        sa.Column("mesh_version", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.LargeBinary(16)),
        sa.Column("seq", sa.BigInteger),
        sa.PrimaryKeyConstraint("src_id", "dst_id", "t", name="pk_window_stat"),
        sqlite_with_rowid=False,
        postgresql_partition_by="RANGE (t)",
    )


def downgrade() -> None:
    """Remove the tables and all data; partitions go with their table."""
    tables = "window_stat batch admin_key agent_key enrol_token mesh_version target agent site"
    for table in tables.split():
        op.drop_table(table)
