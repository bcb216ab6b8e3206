"""Manifest: a checkpoint of batch states and of the sequence numbers that must be on disk.

One small file, replaced atomically. If it is lost or outdated, some batches are sent twice (the collector detects them
by digest), and only the segments show damage.

Rule: a sequence number is removed from the manifest only once a loss record in it covers the number, or once the number
is not needed.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec
from msgspec import Struct

from leadline_agent.spool.filesystem import FileSystem
from leadline_agent.spool.index import BatchState, SegmentIndex
from leadline_agent.spool.loss_records import LossRecord
from leadline_agent.spool.range_set import RangeSet
from leadline_agent.spool.record_format import RECORD_PAYLOAD_BYTES_MAX, Record, RecordKind, encode_record, parse_record

MANIFEST_NAME = "ledger"
_TEMPORARY_NAME = "ledger.new"
#: The manifest belongs to no epoch.
_NO_EPOCH = "0" * 32
#: Longest stored refusal reason of a collector, in characters.
REASON_LENGTH_MAX = 200


class DeadLetter(Struct, frozen=True, array_like=True):
    """A permanently refused batch: time (epoch seconds of this host's wall clock) and the collector's reason."""

    epoch: str
    seq: int
    refused_at_s: int
    reason: str


class ManifestEntry(Struct, frozen=True, array_like=True):
    """One segment: its first and last sequence number and the acknowledged ranges."""

    number: int
    epoch: str
    first_seq: int
    last_seq: int
    acked_at_s: int
    acked_ranges: list[tuple[int, int]]


class Manifest(Struct, frozen=True, kw_only=True):
    """Content of the manifest file."""

    rows: list[ManifestEntry] = []
    dead: list[DeadLetter] = []
    #: Loss records that the collector does not have yet. Some are not in a segment yet, and segments can be damaged.
    undelivered: list[LossRecord] = []
    #: Loss records that the collector has. They remain while a segment of their epoch is on disk, because every start
    #: detects its damage again.
    delivered: list[LossRecord] = []

    def collect_acked(self, epoch: str) -> RangeSet:
        """Return the acknowledged sequence numbers of an epoch."""
        result = RangeSet()
        for row in self.rows:
            for first, last in row.acked_ranges if row.epoch == epoch else []:
                result.add(first, last)
        return result


def build_entry(segment: SegmentIndex) -> ManifestEntry:
    """Return the manifest entry of a segment. Loss records cover its dead letters and losses."""
    acked = list(segment.collect_seqs(BatchState.ACKED))
    return ManifestEntry(segment.number, segment.epoch, segment.first_seq, segment.last_seq, segment.acked_at_s, acked)


def save_manifest(file_system: FileSystem, manifest: Manifest) -> None:
    """Replace the manifest file durably. After an OSError, either the old or the new file is in place."""
    data = encode_record(Record(kind=RecordKind.MANIFEST, epoch=_NO_EPOCH, payload=msgspec.json.encode(manifest)))
    with suppress(FileNotFoundError):
        file_system.unlink(_TEMPORARY_NAME)
    try:
        _write_new_file(file_system, data)
    except OSError:
        with suppress(OSError):
            file_system.unlink(_TEMPORARY_NAME)
        raise
    file_system.rename(_TEMPORARY_NAME, MANIFEST_NAME)
    file_system.fsync_dir()


def _write_new_file(file_system: FileSystem, data: bytes) -> None:
    handle = file_system.create(_TEMPORARY_NAME)
    try:
        file_system.write(handle, data)
        file_system.fdatasync(handle)
    finally:
        file_system.close(handle)


def load_manifest(file_system: FileSystem) -> Manifest:
    """Read the manifest; return an empty one if the file is missing or damaged."""
    try:
        data = file_system.read_at(MANIFEST_NAME, 0, RECORD_PAYLOAD_BYTES_MAX)
    except OSError:
        return Manifest()
    record = parse_record(data, 0)
    if record is None or record[0].kind != RecordKind.MANIFEST:
        return Manifest()
    try:
        return msgspec.json.decode(record[1], type=Manifest)
    except msgspec.DecodeError:
        return Manifest()
