"""The tables (docs/decisions/0005-storage.md says why they are so). Definitions only; the SQL is in ``store``.

Rule 1: names become small integers here: ``src_id`` is the agent, ``dst_id`` the target.
Rule 2: times are epoch seconds in BIGINT, RTTs whole microseconds rounded up, digests raw SHA-256 bytes.
Rule 3: the big tables (``batch``, ``window_stat``) have no sequence, their keys begin with ``src_id``, and foreign keys
point only to small reference tables: so they can be distributed by ``src_id``.
Rule 4: migrations/ says the same; a test compares.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
)

from leadline.model import NAME_LENGTH_MAX, Failure

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING)

#: PostgreSQL keeps windows in partitions of this length, so that retention drops files instead of deleting rows.
PARTITION_S = 30 * 86_400

site = Table(
    "site",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(NAME_LENGTH_MAX), nullable=False, unique=True),
)

#: Every name that was an agent in any version of the mesh.
agent = Table(
    "agent",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(NAME_LENGTH_MAX), nullable=False, unique=True),
    Column("site_id", Integer, ForeignKey("site.id"), nullable=False),
)

#: Every name that could be probed in any version of the mesh: agents and hosts.
target = Table(
    "target",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(NAME_LENGTH_MAX), nullable=False, unique=True),
    Column("site_id", Integer, ForeignKey("site.id"), nullable=False),
)

#: Mesh files as they were applied; the highest version is in force.
mesh_version = Table(
    "mesh_version",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("applied_at", BigInteger, nullable=False),
)

enrol_token = Table(
    "enrol_token",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("site_id", Integer, ForeignKey("site.id"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
)

agent_key = Table(
    "agent_key",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("agent_id", Integer, ForeignKey("agent.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

admin_key = Table(
    "admin_key",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

#: The journal: what an agent sent, byte for byte. Guard against repetition, and evidence.
batch = Table(
    "batch",
    metadata,
    Column("src_id", Integer, ForeignKey("agent.id"), nullable=False),
    Column("epoch", LargeBinary(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("mesh_version", BigInteger, nullable=False),
    #: Earliest and latest window in the body; None in a batch without windows.
    Column("t_first", BigInteger),
    Column("t_last", BigInteger),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("src_id", "epoch", "seq"),
    Index(None, "src_id", "t_last"),
)

#: The column that counts each failure.
FAILURE_COLUMNS = {failure: f"{failure.value}_count" for failure in Failure}

#: One row per path and UTC minute. No foreign keys: ids are looked up in the same transaction and never deleted,
#: and a check per row would double the cost of the largest table.
window_stat = Table(
    "window_stat",
    metadata,
    Column("src_id", Integer, nullable=False),
    Column("dst_id", Integer, nullable=False),
    #: Start of the window.
    Column("t", BigInteger, nullable=False),
    Column("interval_ms", Integer, nullable=False),
    Column("expected", SmallInteger, nullable=False),
    Column("sent", SmallInteger, nullable=False),
    Column("received", SmallInteger, nullable=False),
    Column("min_us", Integer),
    Column("mean_us", Integer),
    Column("p50_us", Integer),
    Column("p95_us", Integer),
    Column("p99_us", Integer),
    Column("max_us", Integer),
    Column("pdv_us", Integer),
    Column("mean_step_us", Integer),
    Column("duplicates", Integer, nullable=False),
    *(Column(name, SmallInteger, nullable=False) for name in FAILURE_COLUMNS.values()),
    Column("error_p50_us", Integer),
    Column("error_p99_us", Integer),
    Column("mesh_version", BigInteger, nullable=False),
    #: The batch that last had a say in this row. None means that no agent sent it: it is simulated.
    Column("epoch", LargeBinary(16)),
    Column("seq", BigInteger),
    PrimaryKeyConstraint("src_id", "dst_id", "t"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (t)",
)
