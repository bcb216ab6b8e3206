"""The ledger: what became of the batches on disk, and which numbers ought to be there.

One small file, written anew and put in place of the old one. Losing it, or reading an old one, means that batches are
sent again (the collector knows them by their digest) and that damage is found by the segments alone.

Rule: a number leaves it only when it stands in a tombstone of it, or when nobody needs it any more.
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
#: The ledger belongs to no epoch.
_NO_EPOCH = "0" * 32
#: A refusal in a collector's words, cut.
REASON_LENGTH_MAX = 200


class DeadLetter(Struct, frozen=True, array_like=True):
    """A batch that the collector refused for ever, when (epoch seconds, this host's wall clock), and in which words."""

    epoch: str
    seq: int
    refused_at_s: int
    reason: str


class ManifestEntry(Struct, frozen=True, array_like=True):
    """One segment: the numbers it holds, first to last, and which of them are acknowledged."""

    number: int
    epoch: str
    first_seq: int
    last_seq: int
    acked_at_s: int
    acked_ranges: list[tuple[int, int]]


class Manifest(Struct, frozen=True, kw_only=True):
    """Everything that is in the file."""

    rows: list[ManifestEntry] = []
    dead: list[DeadLetter] = []
    #: Tombstones that the collector does not have yet: some are in no segment so far, and a segment may be damaged.
    undelivered: list[LossRecord] = []
    #: Tombstones that the collector has, as long as a segment of their epoch is on disk: damage is found at each start.
    delivered: list[LossRecord] = []

    def collect_acked(self, epoch: str) -> RangeSet:
        """Acknowledged numbers of an epoch."""
        result = RangeSet()
        for row in self.rows:
            for first, last in row.acked_ranges if row.epoch == epoch else []:
                result.add(first, last)
        return result


def build_entry(segment: SegmentIndex) -> ManifestEntry:
    """The row of a segment. Dead letters and losses have tombstones, so they are no hole."""
    acked = list(segment.collect_seqs(BatchState.ACKED))
    return ManifestEntry(segment.number, segment.epoch, segment.first_seq, segment.last_seq, segment.acked_at_s, acked)


def save_manifest(file_system: FileSystem, manifest: Manifest) -> None:
    """Put it in place of the old one, durably; OSError leaves the old one or the new one."""
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


def _write_new_file(files: FileSystem, data: bytes) -> None:
    handle = files.create(_TEMPORARY_NAME)
    try:
        files.write(handle, data)
        files.fdatasync(handle)
    finally:
        files.close(handle)


def load_manifest(file_system: FileSystem) -> Manifest:
    """The ledger in the directory; an empty one when there is none that can be read."""
    try:
        data = file_system.read_at(MANIFEST_NAME, 0, RECORD_PAYLOAD_BYTES_MAX)
    except OSError:
        return Manifest()
    found = parse_record(data, 0)
    if found is None or found[0].kind != RecordKind.MANIFEST:
        return Manifest()
    try:
        return msgspec.json.decode(found[1], type=Manifest)
    except msgspec.DecodeError:
        return Manifest()
