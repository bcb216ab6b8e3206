"""The tables (docs/decisions/0005-storage.md says why they are so). Definitions only; the SQL is in ``store``.

Rule 1: names become small integers here: ``src_id`` is the agent, ``dst_id`` the target.
Rule 2: times are epoch seconds in BIGINT, RTTs whole microseconds rounded up, digests raw SHA-256 bytes.
Rule 3: the big tables have no sequence, their keys begin with ``src_id`` (or, where they are of pairs of sites, with
``source_id``), and foreign keys point only to small reference tables: so they can be distributed by their first column.
Rule 4: migrations/ says the same; a test compares.
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

#: PostgreSQL keeps big tables in partitions of this length, so that retention drops files instead of deleting rows.
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
    Column("revoked_at", BigInteger),
)

agent_key = Table(
    "agent_key",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("agent_id", Integer, ForeignKey("agent.id"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    #: First use; None before it.
    Column("used_at", BigInteger),
    #: None for a key without an end.
    Column("expires_at", BigInteger),
    #: The key that ends when this one is used for the first time; None for a key that came by enrolment.
    Column("replaces", LargeBinary(32)),
)

#: The public half of every key an agent signs or signed with.
signing_key = Table(
    "signing_key",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("agent_id", Integer, ForeignKey("agent.id"), nullable=False),
    Column("public", LargeBinary(32), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    #: First batch signed with it, which retired the others; None before it.
    Column("used_at", BigInteger),
    Column("retired_at", BigInteger),
    #: ``id`` of the key that vouched for this one, and its signature; None for a key that came by enrolment.
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

#: Longest ``who`` and ``subject``: an IPv6 network or a name of ours, with its kind before it.
AUDIT_TEXT_MAX = 128

#: Who did what. Triggers refuse to change or delete a row.
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

#: A batch whose body retention did not take. A query has to say it as the index does.
HAS_BODY_CONDITION = text("length(body) > 0")

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
    #: The agent's clocks when it sealed the batch (``wire.Batch``); None where it did not say.
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
    #: The agent's signature of the body, and the key; None of an agent that did not sign. No foreign key: SQLite would
    #: copy the journal to add one, and rows of ``signing_key`` are never deleted.
    Column("signature", LargeBinary(64)),
    Column("signing_key_id", Integer),
    PrimaryKeyConstraint("src_id", "epoch", "seq"),
    Index(None, "src_id", "t_last"),
    Index(None, "src_id", "boot_id", "t_last"),
    #: For retention, which empties bodies: how it finds those of some days among the rows of years.
    Index("ix_batch_body", "src_id", "t_last", sqlite_where=HAS_BODY_CONDITION, postgresql_where=HAS_BODY_CONDITION),
)

#: How many batches of an epoch were ever stored: outlives the journal, and goes back when a backup is restored.
ledger = Table(
    "ledger",
    metadata,
    Column("src_id", Integer, ForeignKey("agent.id"), nullable=False),
    Column("epoch", LargeBinary(16), nullable=False),
    Column("batches", BigInteger, nullable=False),
    Column("seq_max", BigInteger, nullable=False),
    PrimaryKeyConstraint("src_id", "epoch"),
)

#: What is missing and why, as somebody told it (``source``: the agent, or the collector that noted it).
gap = Table(
    "gap",
    metadata,
    Column("src_id", Integer, ForeignKey("agent.id"), nullable=False),
    #: The batch that told it, and its place in that batch.
    Column("told_epoch", LargeBinary(16), nullable=False),
    Column("told_seq", BigInteger, nullable=False),
    Column("place", SmallInteger, nullable=False),
    Column("source", String(16), nullable=False),
    Column("noted_at", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("from_s", BigInteger, nullable=False),
    Column("to_s", BigInteger, nullable=False),
    #: Windows given up; None where nobody can tell.
    Column("windows", BigInteger),
    #: Numbers of the batches given up; None where the hole has none.
    Column("epoch", LargeBinary(16)),
    Column("first_seq", BigInteger),
    Column("last_seq", BigInteger),
    PrimaryKeyConstraint("src_id", "told_epoch", "told_seq", "place"),
    Index(None, "src_id", "to_s"),
)

#: Batches with windows of times that cannot be: they are in the journal and not in ``window_stat``.
quarantine = Table(
    "quarantine",
    metadata,
    Column("src_id", Integer, ForeignKey("agent.id"), nullable=False),
    Column("epoch", LargeBinary(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("reason", String(32), nullable=False),
    #: Where in the batch the first of them is.
    Column("path", String(64), nullable=False),
    #: How many, and their earliest and latest start as the agent's clock had it.
    Column("windows", Integer, nullable=False),
    Column("t_first", BigInteger, nullable=False),
    Column("t_last", BigInteger, nullable=False),
    PrimaryKeyConstraint("src_id", "epoch", "seq"),
    Index(None, "src_id", "received_at"),
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

#: Hours of an agent whose rollups may be behind ``window_stat``: written by whoever writes windows, in the same
#: transaction, and taken away by compaction.
mark_hour = Table(
    "mark_hour",
    metadata,
    Column("src_id", Integer, nullable=False),
    Column("t", BigInteger, nullable=False),
    #: Grows by one with every transaction that writes windows of the hour.
    Column("version", BigInteger, nullable=False),
    #: Windows that start before this are in the rollup as they are in ``window_stat``.
    Column("since", BigInteger, nullable=False),
    PrimaryKeyConstraint("src_id", "t"),
    sqlite_with_rowid=False,
)

#: Days of a source site with hours that were compacted after the day was: its rollups and tallies are behind.
mark_day = Table(
    "mark_day",
    metadata,
    Column("source_id", Integer, nullable=False),
    Column("t", BigInteger, nullable=False),
    PrimaryKeyConstraint("source_id", "t"),
    sqlite_with_rowid=False,
)

#: One hour of raw round trips of a path (``chunks``). A row for every hour in which an agent measured.
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


#: The sums of a path over an hour; RTTs in microseconds.
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
    #: None without a reply.
    Column("min_us", Integer),
    Column("max_us", Integer),
    #: Of all replies; None where their round trips are not known one by one (simulated windows).
    Column("sum_us", BigInteger),
    Column("rtt_histogram", LargeBinary),
    #: Of the p95 of each window; windows whose p95 is infinite, or that sent nothing, are in neither.
    Column("p95_histogram", LargeBinary, nullable=False),
    #: Windows that sent something and whose p95 is infinite.
    Column("p95_infinite", SmallInteger, nullable=False),
    #: Some of the windows came from no agent.
    Column("simulated", Boolean, nullable=False),
    #: The statistics of the windows (``hour_windows``).
    Column("packed", LargeBinary, nullable=False),
    #: The latest of them, for whoever asks for nothing else.
    Column("latest", LargeBinary, nullable=False),
    PrimaryKeyConstraint("src_id", "dst_id", "t"),
    postgresql_partition_by="RANGE (t)",
)

#: A profile as windows are judged by it when they are counted.
rule = Table(
    "rule",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("profile", String(NAME_LENGTH_MAX), nullable=False),
    #: Of what is compared, how, and with what.
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    #: Every hour and day that is compacted is counted by it.
    Column("complete", Boolean, nullable=False),
)

#: Both readings of a window, as ``leadline.evaluation`` has them; what is in none of these is unknown in both.
COUNT_COLUMNS = ("good", "bad", "unavailable", "good_best", "bad_best", "unavailable_best")


def _tally_columns() -> list[SchemaItem]:
    """The columns of the windows of a pair of sites counted by their states."""
    return [
        Column("source_id", Integer, nullable=False),
        Column("rule_id", Integer, nullable=False),
        Column("destination_id", Integer, nullable=False),
        Column("t", BigInteger, nullable=False),
        *(Column(name, SmallInteger, nullable=False) for name in COUNT_COLUMNS),
        Column("min_us", Integer),
        Column("simulated", Boolean, nullable=False),
    ]


#: Minutes of an hour, a letter each in ``tally_hour.states``.
STATES_LENGTH = 60

tally_hour = Table(
    "tally_hour",
    metadata,
    *_tally_columns(),
    #: The minutes in the pessimistic reading (``tallies.letters``); None where all are good.
    Column("states", String(STATES_LENGTH)),
    PrimaryKeyConstraint("source_id", "rule_id", "destination_id", "t"),
    sqlite_with_rowid=False,
    postgresql_partition_by="RANGE (t)",
)

tally_day = Table(
    "tally_day",
    metadata,
    *_tally_columns(),
    PrimaryKeyConstraint("source_id", "rule_id", "destination_id", "t"),
    sqlite_with_rowid=False,
)

#: Longest ``state`` and ``version``: what is longer is no word of ``judge.State`` and no version of ours.
STATE_LENGTH_MAX = 16
VERSION_LENGTH_MAX = 32

#: The newest window that is due of every pair of sites by every rule in force (``now.pairs``).
pair_now = Table(
    "pair_now",
    metadata,
    Column("source_id", Integer, nullable=False),
    Column("rule_id", Integer, nullable=False),
    Column("destination_id", Integer, nullable=False),
    #: Start of that window.
    Column("t", BigInteger, nullable=False),
    #: ``judge.State`` of it in the pessimistic reading.
    Column("state", String(STATE_LENGTH_MAX), nullable=False),
    #: Start of the first window of the unbroken run of that state.
    Column("since", BigInteger, nullable=False),
    #: Start of the newest window whose state is known; None if none of the last day is.
    Column("known_at", BigInteger),
    #: Of that window, the worst path's; None if it is infinite.
    Column("p95_us", Integer),
    #: Windows of the 15 minutes up to and including ``t``; the others are unknown.
    Column("good_15", SmallInteger, nullable=False),
    Column("bad_15", SmallInteger, nullable=False),
    Column("unavailable_15", SmallInteger, nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("source_id", "rule_id", "destination_id"),
    sqlite_with_rowid=False,
)

#: The newest that is known of every agent (``now.agents``); None where it never said.
agent_now = Table(
    "agent_now",
    metadata,
    Column("src_id", Integer, primary_key=True, autoincrement=False),
    #: When its last batch came.
    Column("heard_at", BigInteger),
    #: Start of the newest window it delivered.
    Column("latest_t", BigInteger),
    #: Of the agent's program, and what waits in its spool, as its last requests had it.
    Column("version", String(VERSION_LENGTH_MAX)),
    Column("spool_batches", BigInteger),
    Column("spool_bytes", BigInteger),
    Column("spool_bytes_max", BigInteger),
    #: The clock as the newest batch had it (``wire.Batch``).
    Column("clock_offset_us", BigInteger),
    Column("clock_offset_error_us", BigInteger),
    Column("ntp_synchronised", Boolean),
    Column("updated_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: What the mesh in force and the catalogue say, for those who read the database and no Python: ``references``.
pair_floor = Table(
    "pair_floor",
    metadata,
    Column("source_id", Integer, primary_key=True, autoincrement=False),
    Column("destination_id", Integer, primary_key=True, autoincrement=False),
    Column("distance_km", Float(53), nullable=False),
    Column("vacuum_ns", BigInteger, nullable=False),
    Column("glass_ns", BigInteger, nullable=False),
    #: One of the sites is simulated.
    Column("simulated", Boolean, nullable=False),
)

#: The criteria of every profile of the catalogue, in its order.
profile_limit = Table(
    "profile_limit",
    metadata,
    Column("profile", String(NAME_LENGTH_MAX), primary_key=True),
    Column("place", SmallInteger, primary_key=True, autoincrement=False),
    *(Column(name, Text, nullable=False) for name in ("title", "limit_id", "vendor", "product")),
    *(Column(name, String(16), nullable=False) for name in ("measure", "comparison")),
    Column("limit_us", Integer, nullable=False),
    Column("peak_us", Integer),
    #: The limit is on the round trip itself, not on its variation.
    Column("bounds_rtt", Boolean, nullable=False),
    Column("rule", Text, nullable=False),
    Column("source_url", Text),
)

#: The agents the mesh in force names.
mesh_agent = Table("mesh_agent", metadata, Column("agent_id", Integer, primary_key=True, autoincrement=False))

#: Tables that PostgreSQL keeps in partitions.
PARTITIONED_TABLES = (window_stat, chunk, rollup_hour, tally_hour)
