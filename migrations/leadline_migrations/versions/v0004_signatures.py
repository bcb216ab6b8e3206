"""Public keys of agents that sign, and the signature beside each batch of the journal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add; what is stored already was not signed, and stays so."""
    op.create_table(
        "signing_key",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("agent_id", sa.Integer, nullable=False),
        sa.Column("public", sa.LargeBinary(32), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.Column("retired_at", sa.BigInteger),
        sa.Column("endorsed_by", sa.Integer),
        sa.Column("endorsement", sa.LargeBinary(64)),
        sa.PrimaryKeyConstraint("id", name="pk_signing_key"),
        sa.UniqueConstraint("agent_id", "public", name="uq_signing_key_agent_id_public"),
        sa.ForeignKeyConstraint(["agent_id"], ["agent.id"], name="fk_signing_key_agent_id_agent"),
    )
    op.add_column("batch", sa.Column("signature", sa.LargeBinary(64)))
    op.add_column("batch", sa.Column("signing_key_id", sa.Integer))


def downgrade() -> None:
    """Remove; batches stay, their signatures are lost, and agents that signed are taken without."""
    op.drop_column("batch", "signing_key_id")
    op.drop_column("batch", "signature")
    op.drop_table("signing_key")
