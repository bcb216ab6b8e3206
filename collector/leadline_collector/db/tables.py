"""Table definitions (reasons: docs/decisions/0005-storage.md). The SQL is in the ``store`` modules.

Rule 1: names are small integers: ``src_id`` is the agent, ``dst_id`` the target.
Rule 2: times are epoch seconds in BIGINT, RTTs whole microseconds rounded up, digests raw SHA-256 bytes.
Rule 3: large tables have no sequence, their keys begin with ``src_id`` (tables of site pairs: ``source_id``), and
foreign keys point only to small reference tables. So they can be distributed by their first column.
Rule 4: the migrations create the same schema; a test compares.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
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
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.schema import SchemaItem

from leadline.model import NAME_LENGTH_MAX, Failure

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=NAMING_CONVENTION)

#: Length of a partition of the large tables on PostgreSQL; retention drops partitions instead of deleting rows.
PARTITION_S = 30 * 86_400

site = Table(
    "site",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(NAME_LENGTH_MAX), nullable=False, unique=True),
)

#: Every agent of any version of the mesh.
agent = Table(
    "agent",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(NAME_LENGTH_MAX), nullable=False, unique=True),
    Column("site_id", Integer, ForeignKey("site.id"), nullable=False),
)

#: Every target of any version of the mesh: agents and hosts.
target = Table(
    "target",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(NAME_LENGTH_MAX), nullable=False, unique=True),
    Column("site_id", Integer, ForeignKey("site.id"), nullable=False),
)

#: Applied mesh files; the highest version is active.
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
    Column("revoked_at", BigInteger),
)

agent_key = Table(
    "agent_key",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("agent_id", Integer, ForeignKey("agent.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    #: First use; NULL before it.
    Column("used_at", BigInteger),
    #: NULL for a key without expiry.
    Column("expires_at", BigInteger),
    #: The key that the first use of this one revokes; NULL for a key from enrolment.
    Column("replaces", LargeBinary(32)),
)

#: Public key of every signing key of an agent, present and past.
signing_key = Table(
    "signing_key",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("agent_id", Integer, ForeignKey("agent.id"), nullable=False),
    Column("public", LargeBinary(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    #: Time of the first batch signed with it, which retired the other keys; NULL before.
    Column("used_at", BigInteger),
    Column("retired_at", BigInteger),
    #: ``id`` of the key that endorsed this one, and its signature; NULL for a key from enrolment.
    Column("endorsed_by", Integer),
    Column("endorsement", LargeBinary(64)),
    UniqueConstraint("agent_id", "public"),
)

admin_key = Table(
    "admin_key",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

#: Longest ``who`` and ``subject``: an IPv6 network or a name, with a prefix for its kind.
AUDIT_TEXT_MAX = 128

#: Audit log. Triggers refuse to change or delete a row.
audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("who", String(AUDIT_TEXT_MAX), nullable=False),
    Column("what", String(AUDIT_TEXT_MAX), nullable=False),
    Column("subject", String(AUDIT_TEXT_MAX), nullable=False),
    #: JSON object.
    Column("detail", Text, nullable=False),
)

#: A batch with a body (retention empties old ones). Queries must use the exact condition of the index.
HAS_BODY_CONDITION = text("length(body) > 0")

#: The journal: batches byte for byte as received. It detects repetitions and is the evidence.
batch = Table(
    "batch",
    metadata,
    Column("src_id", Integer, ForeignKey("agent.id"), nullable=False),
    Column("epoch", LargeBinary(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("mesh_version", BigInteger, nullable=False),
    #: Earliest and latest window in the body; NULL in a batch without windows.
    Column("t_first", BigInteger),
    Column("t_last", BigInteger),
    Column("body", LargeBinary, nullable=False),
    #: The agent's clocks when it sealed the batch (``wire.batch.Batch``); NULL if it did not report them.
    Column("sealed_at_us", BigInteger),
    Column("monotonic_us", BigInteger),
    Column("boottime_us", BigInteger),
    Column("ntp_offset_us", BigInteger),
    Column("ntp_max_error_us", BigInteger),
    Column("ntp_estimated_error_us", BigInteger),
    Column("clock_offset_us", BigInteger),
    Column("clock_offset_error_us", BigInteger),
    Column("boot_id", String(36)),
    Column("ntp_synchronised", Boolean),
    #: Signature of the body and its key; NULL for an unsigned batch. There is no foreign key: SQLite would copy the
    #: journal to add one, and rows of ``signing_key`` are never deleted.
    Column("signature", LargeBinary(64)),
    Column("signing_key_id", Integer),
    PrimaryKeyConstraint("src_id", "epoch", "seq"),
    Index(None, "src_id", "t_last"),
    Index(None, "src_id", "boot_id", "t_last"),
    #: For retention: finds the bodies of some days among the rows of years.
    Index("ix_batch_body", "src_id", "t_last", sqlite_where=HAS_BODY_CONDITION, postgresql_where=HAS_BODY_CONDITION),
)

#: Number of batches ever stored of each epoch. It outlives the journal; restoring a backup lowers it.
ledger = Table(
    "ledger",
    metadata,
    Column("src_id", Integer, ForeignKey("agent.id"), nullable=False),
    Column("epoch", LargeBinary(16), nullable=False),
    Column("batches", BigInteger, nullable=False),
    Column("seq_max", BigInteger, nullable=False),
    PrimaryKeyConstraint("src_id", "epoch"),
)

#: Reported gaps with their reason; ``source`` is the reporting agent or the collector.
gap = Table(
    "gap",
    metadata,
    Column("src_id", Integer, ForeignKey("agent.id"), nullable=False),
    #: The batch that reported it, and its index in that batch.
    Column("told_epoch", LargeBinary(16), nullable=False),
    Column("told_seq", BigInteger, nullable=False),
    Column("place", SmallInteger, nullable=False),
    Column("source", String(16), nullable=False),
    Column("noted_at", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("from_s", BigInteger, nullable=False),
    Column("to_s", BigInteger, nullable=False),
    #: Number of lost windows; NULL if unknown.
    Column("windows", BigInteger),
    #: Sequence numbers of the lost batches; NULL if the gap has none.
    Column("epoch", LargeBinary(16)),
    Column("first_seq", BigInteger),
    Column("last_seq", BigInteger),
    PrimaryKeyConstraint("src_id", "told_epoch", "told_seq", "place"),
    Index(None, "src_id", "to_s"),
)

#: Batches with implausible window times: those windows are in the journal and not in ``window_stat``.
quarantine = Table(
    "quarantine",
    metadata,
    Column("src_id", Integer, ForeignKey("agent.id"), nullable=False),
    Column("epoch", LargeBinary(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    #: JSON path of the first implausible window.
    Column("path", String(64), nullable=False),
    #: Their number, and their earliest and latest start by the agent's clock.
    Column("windows", Integer, nullable=False),
    Column("t_first", BigInteger, nullable=False),
    Column("t_last", BigInteger, nullable=False),
    PrimaryKeyConstraint("src_id", "epoch", "seq"),
    Index(None, "src_id", "received_at"),
)

#: The column that counts each failure.
FAILURE_COLUMNS = {failure: f"{failure.value}_count" for failure in Failure}

#: One row per path and UTC minute. No foreign keys: ids are looked up in the same transaction and never deleted, and a
#: check per row would double the cost of the largest table.
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
    #: NULL also in a window with few losses that was stored before schema 0010 (``WindowStats.latency_p95_us``).
    Column("latency_p95_us", Integer),
    Column("duplicates", Integer, nullable=False),
    *(Column(name, SmallInteger, nullable=False) for name in FAILURE_COLUMNS.values()),
    Column("error_p50_us", Integer),
    Column("error_p99_us", Integer),
    Column("mesh_version", BigInteger, nullable=False),
    #: The batch that last changed this row; NULL in a simulated window.
    Column("epoch", LargeBinary(16)),
    Column("seq", BigInteger),
    PrimaryKeyConstraint("src_id", "dst_id", "t"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (t)",
)

#: Dirty hours: hours of an agent whose rollups may be older than ``window_stat``. The transaction that writes windows
#: marks their hours; compaction removes the marks.
mark_hour = Table(
    "mark_hour",
    metadata,
    Column("src_id", Integer, nullable=False),
    Column("t", BigInteger, nullable=False),
    #: Grows by one with every transaction that writes windows of the hour.
    Column("version", BigInteger, nullable=False),
    #: Windows that start before this are the same in the rollup and in ``window_stat``.
    Column("since", BigInteger, nullable=False),
    PrimaryKeyConstraint("src_id", "t"),
    sqlite_with_rowid=False,
)

#: Dirty days: days of a source site with an hour that was compacted after the day, so its counts are outdated.
mark_day = Table(
    "mark_day",
    metadata,
    Column("source_id", Integer, nullable=False),
    Column("t", BigInteger, nullable=False),
    PrimaryKeyConstraint("source_id", "t"),
    sqlite_with_rowid=False,
)

#: One hour of raw RTTs of a path (``rollup.raw_codec``); one row for every hour with measurements.
chunk = Table(
    "chunk",
    metadata,
    Column("src_id", Integer, nullable=False),
    Column("dst_id", Integer, nullable=False),
    Column("t", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    PrimaryKeyConstraint("src_id", "dst_id", "t"),
    postgresql_partition_by="RANGE (t)",
)


#: Sums of a path over an hour; RTTs in microseconds.
rollup_hour = Table(
    "rollup_hour",
    metadata,
    Column("src_id", Integer, nullable=False),
    Column("dst_id", Integer, nullable=False),
    Column("t", BigInteger, nullable=False),
    Column("windows", SmallInteger, nullable=False),
    Column("expected", Integer, nullable=False),
    Column("sent", Integer, nullable=False),
    Column("received", Integer, nullable=False),
    Column("duplicates", BigInteger, nullable=False),
    *(Column(name, Integer, nullable=False) for name in FAILURE_COLUMNS.values()),
    #: NULL without a reply.
    Column("min_us", Integer),
    Column("max_us", Integer),
    #: Over all replies; NULL if the single RTTs are unknown (simulated windows).
    Column("sum_us", BigInteger),
    Column("rtt_histogram", LargeBinary),
    #: Histogram of the windows' p95, without windows that sent nothing or have an infinite p95.
    Column("p95_histogram", LargeBinary, nullable=False),
    #: Windows with probes sent and an infinite p95.
    Column("p95_infinite", SmallInteger, nullable=False),
    #: At least one window is simulated.
    Column("simulated", Boolean, nullable=False),
    #: Statistics of all windows (``rollup.window_codec``).
    Column("packed", LargeBinary, nullable=False),
    #: The latest window only, for queries of current values.
    Column("latest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("src_id", "dst_id", "t"),
    postgresql_partition_by="RANGE (t)",
)

#: Revisions of profiles: the criteria by which windows are counted.
rule = Table(
    "rule",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("profile", String(NAME_LENGTH_MAX), nullable=False),
    #: Digest of the criteria (``rollup.profile_revisions.compute_digest``).
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    #: All compacted hours and days are counted by this revision.
    Column("complete", Boolean, nullable=False),
)

#: State counts in the worst and the best case (``leadline.evaluation``); all other windows are unknown in both.
STATE_COUNT_COLUMNS = ("good", "bad", "unavailable", "good_best", "bad_best", "unavailable_best")
#: Bad windows of the worst case by cause; their sum is ``bad``, and ``unavailable`` counts the outages.
CAUSE_COUNT_COLUMNS = ("bad_loss", "bad_latency", "bad_both")
COUNT_COLUMNS = (*STATE_COUNT_COLUMNS, *CAUSE_COUNT_COLUMNS)


def _count_columns() -> list[SchemaItem]:
    """Return the columns of state counts of a site pair."""
    return [
        Column("source_id", Integer, nullable=False),
        Column("rule_id", Integer, nullable=False),
        Column("destination_id", Integer, nullable=False),
        Column("t", BigInteger, nullable=False),
        *(Column(name, SmallInteger, nullable=False) for name in STATE_COUNT_COLUMNS),
        *(Column(name, SmallInteger, nullable=False, server_default="0") for name in CAUSE_COUNT_COLUMNS),
        Column("min_us", Integer),
        Column("simulated", Boolean, nullable=False),
        #: At least one window was imported from a file.
        Column("imported", Boolean, nullable=False, server_default=false()),
        #: Smallest number of scheduled probes of a window; NULL in a row that was counted before schema 0010.
        Column("expected_min", SmallInteger),
    ]


#: One letter for each minute of an hour in ``tally_hour.states``.
STATES_LENGTH = 60

tally_hour = Table(
    "tally_hour",
    metadata,
    *_count_columns(),
    #: States of the minutes in the worst case (``state_counts.format_state_strings``); NULL if all are good.
    Column("states", String(STATES_LENGTH)),
    PrimaryKeyConstraint("source_id", "rule_id", "destination_id", "t"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (t)",
)

tally_day = Table(
    "tally_day",
    metadata,
    *_count_columns(),
    PrimaryKeyConstraint("source_id", "rule_id", "destination_id", "t"),
    sqlite_with_rowid=False,
)

#: ``CAUSE_COUNT_COLUMNS`` over 15 minutes.
RECENT_CAUSE_COUNT_COLUMNS = ("bad_loss_15", "bad_latency_15", "bad_both_15")
#: Longest ``state`` (a ``leadline.evaluation.WindowState``), ``cause`` (a ``WindowCause``) and ``version``.
STATE_LENGTH_MAX = 16
VERSION_LENGTH_MAX = 32

#: Current state of every site pair by every active profile revision (``live.pairs``).
pair_now = Table(
    "pair_now",
    metadata,
    Column("source_id", Integer, nullable=False),
    Column("rule_id", Integer, nullable=False),
    Column("destination_id", Integer, nullable=False),
    #: Start of the newest window that is due.
    Column("t", BigInteger, nullable=False),
    #: ``WindowState`` of that window in the worst case.
    Column("state", String(STATE_LENGTH_MAX), nullable=False),
    #: Start of the first window of the unbroken run of that state.
    Column("since", BigInteger, nullable=False),
    #: Start of the newest window with a known state; NULL if the last day has none.
    Column("known_at", BigInteger),
    #: Highest p95 of the paths in the window at ``known_at``; NULL if it is infinite.
    Column("p95_us", Integer),
    #: Counts over the 15 minutes up to and including ``t``; all other windows are unknown.
    Column("good_15", SmallInteger, nullable=False),
    Column("bad_15", SmallInteger, nullable=False),
    Column("unavailable_15", SmallInteger, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    #: ``WindowCause`` of ``state``; NULL if it is good or unknown.
    Column("cause", String(STATE_LENGTH_MAX)),
    #: Bad windows of the same 15 minutes by cause.
    *(Column(name, SmallInteger, nullable=False, server_default="0") for name in RECENT_CAUSE_COUNT_COLUMNS),
    #: At least one window of the same 15 minutes was imported from a file.
    Column("imported", Boolean, nullable=False, server_default=false()),
    #: The smallest RTT of the same 15 minutes is below the propagation delay in a vacuum.
    Column("invalid", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint("source_id", "rule_id", "destination_id"),
    sqlite_with_rowid=False,
)

#: Current state of every agent (``live.agents``); NULL for values that it never reported.
agent_now = Table(
    "agent_now",
    metadata,
    Column("src_id", Integer, primary_key=True, autoincrement=False),
    #: Time of its last batch.
    Column("heard_at", BigInteger),
    #: Start of the newest window it delivered.
    Column("latest_t", BigInteger),
    #: Program version and spool usage from the headers of its last requests.
    Column("version", String(VERSION_LENGTH_MAX)),
    Column("spool_batches", BigInteger),
    Column("spool_bytes", BigInteger),
    Column("spool_bytes_max", BigInteger),
    #: Clock state from the newest batch (``wire.batch.Batch``).
    Column("clock_offset_us", BigInteger),
    Column("clock_offset_error_us", BigInteger),
    Column("ntp_synchronised", Boolean),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: Propagation delay of every pair of the active mesh, for readers of the database (``mesh.reference_tables``).
pair_floor = Table(
    "pair_floor",
    metadata,
    Column("source_id", Integer, primary_key=True, autoincrement=False),
    Column("destination_id", Integer, primary_key=True, autoincrement=False),
    Column("distance_km", Float(53), nullable=False),
    Column("vacuum_ns", BigInteger, nullable=False),
    Column("glass_ns", BigInteger, nullable=False),
    #: At least one of the sites is simulated.
    Column("simulated", Boolean, nullable=False),
)

#: Criteria of every profile of the catalogue, in the order of the profile.
profile_limit = Table(
    "profile_limit",
    metadata,
    Column("profile", String(NAME_LENGTH_MAX), primary_key=True),
    Column("place", SmallInteger, primary_key=True, autoincrement=False),
    *(Column(name, Text, nullable=False) for name in ("title", "limit_id", "vendor", "product")),
    *(Column(name, String(16), nullable=False) for name in ("measure", "comparison")),
    Column("limit_us", Integer, nullable=False),
    Column("peak_us", Integer),
    #: The limit applies to the RTT itself, not to its variation.
    Column("bounds_rtt", Boolean, nullable=False),
    Column("rule", Text, nullable=False),
    Column("source_url", Text),
    #: "superseded, secondary" (``limit_rules.find_reservations``); NULL for a current requirement of the vendor.
    Column("reservations", Text),
)

#: Agents of the active mesh.
mesh_agent = Table("mesh_agent", metadata, Column("agent_id", Integer, primary_key=True, autoincrement=False))

#: Tables that are partitioned on PostgreSQL.
PARTITIONED_TABLES = (window_stat, chunk, rollup_hour, tally_hour)
