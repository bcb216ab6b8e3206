"""An index for the last batch of a boot, by which batches of a wrong wall clock are put in their place.

Without it every batch of the agent was read: 0.3 s in SQLite for 60,000 of 4 kB, and as long again for each boot.
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

NAME = "ix_batch_src_id_boot_id_t_last"


def upgrade() -> None:
    """Add it. Batches wait meanwhile: half a second for 60,000."""
    op.create_index(NAME, "batch", ["src_id", "boot_id", "t_last"])


def downgrade() -> None:
    """Remove it."""
    op.drop_index(NAME, "batch")
