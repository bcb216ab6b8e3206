"""The audit, which only grows, and the life of keys: first use, end, successor."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT_LENGTH = 128

_REFUSAL = "the audit is append-only"

SQLITE = (
    f"CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
    f"CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
)
POSTGRESQL = (
    "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
    "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
)


def upgrade() -> None:
    """Add; what was there keeps its meaning."""
    op.add_column("enrol_token", sa.Column("revoked_at", sa.BigInteger))
    op.add_column("agent_key", sa.Column("used_at", sa.BigInteger))
    op.add_column("agent_key", sa.Column("expires_at", sa.BigInteger))
    op.add_column("agent_key", sa.Column("replaces", sa.LargeBinary(32)))
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.String(TEXT_LENGTH), nullable=False),
        sa.Column("what", sa.String(TEXT_LENGTH), nullable=False),
        sa.Column("subject", sa.String(TEXT_LENGTH), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    for statement in POSTGRESQL if _is_postgresql() else SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Remove; the audit is lost. What the older schema cannot end is ended here: revoked tokens, keys with an end."""
    op.execute("DELETE FROM enrol_token WHERE revoked_at IS NOT NULL")
    op.execute("UPDATE agent_key SET revoked_at = expires_at WHERE revoked_at IS NULL AND expires_at IS NOT NULL")
    op.drop_table("audit")
    if _is_postgresql():
        op.execute("DROP FUNCTION audit_is_append_only()")
    for column in ("replaces", "expires_at", "used_at"):
        op.drop_column("agent_key", column)
    op.drop_column("enrol_token", "revoked_at")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
