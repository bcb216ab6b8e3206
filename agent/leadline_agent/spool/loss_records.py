"""Loss records: which measured batches never reach the collector, and why. No I/O.

A loss record may claim too much, never too little: another copy of a batch in it may have reached the collector. A
stored batch takes precedence over a loss record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from leadline_agent.spool.record_format import Record, RecordKind


class LossReason(StrEnum):
    """Why batches are lost. The list is closed."""

    #: Evicted: the quota, the disk or the memory was full.
    OVERFLOW = "spool_overflow"
    #: Damaged or removed on disk.
    CORRUPT = "spool_corrupt"
    #: Permanently refused by the collector; the bytes remain for some time as a dead letter.
    REFUSED = "refused"


class LossRecord(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Loss of the batches ``first_seq`` to ``last_seq`` (inclusive) of an epoch.

    ``last_seq`` is None if the damage hides how many batches there were. Times are epoch seconds of the first and the
    last window; None if unknown. ``windows`` is None if the number is unknown.
    """

    epoch: str
    first_seq: int
    last_seq: int | None
    t_first_s: int | None
    t_last_s: int | None
    windows: int | None
    reason: LossReason


def encode_loss_records(loss_records: Sequence[LossRecord], epoch: str, next_seq: int) -> Record:
    """Return the spool record of the loss records. ``epoch`` and ``next_seq`` apply if it is the first of a segment."""
    return Record(kind=RecordKind.LOSS_RECORDS, epoch=epoch, seq=next_seq, payload=msgspec.json.encode(loss_records))


def decode_loss_records(payload: bytes) -> list[LossRecord]:
    """Decode a payload of ``encode_loss_records``; return [] for the format of a later version."""
    try:
        return msgspec.json.decode(payload, type=list[LossRecord])
    except msgspec.DecodeError:
        return []


def is_superset(record: LossRecord, other: LossRecord) -> bool:
    """Return whether ``record`` covers every batch of ``other``."""
    if record.epoch != other.epoch or record.first_seq > other.first_seq:
        return False
    return record.last_seq is None or (other.last_seq is not None and other.last_seq <= record.last_seq)


def merge_adjacent(loss_records: Iterable[LossRecord]) -> list[LossRecord]:
    """Return the losses without duplicates and with adjacent ranges merged, by epoch, reason and number."""
    result: list[LossRecord] = []
    for record in sorted(set(loss_records), key=_sort_key):
        previous = result[-1] if result else None
        if previous is not None and _is_adjacent(previous, record):
            result[-1] = _merge_pair(previous, record)
        else:
            result.append(record)
    return result


def merge_by_reason(loss_records: Iterable[LossRecord]) -> list[LossRecord]:
    """Return one loss record for each epoch and reason; its range includes the numbers between the losses."""
    result: dict[tuple[str, LossReason], LossRecord] = {}
    for record in sorted(set(loss_records), key=_sort_key):
        key = (record.epoch, record.reason)
        result[key] = _merge_pair(result[key], record) if key in result else record
    return list(result.values())


def _sort_key(record: LossRecord) -> tuple[str, str, int, bool, int]:
    return record.epoch, record.reason, record.first_seq, record.last_seq is None, record.last_seq or 0


def _is_adjacent(previous: LossRecord, following: LossRecord) -> bool:
    return (
        (previous.epoch, previous.reason) == (following.epoch, following.reason)
        and previous.last_seq is not None
        and following.first_seq == previous.last_seq + 1
    )


def _merge_pair(left: LossRecord, right: LossRecord) -> LossRecord:
    """Return one record for both ranges. Windows of overlapping ranges count twice; adjacent ranges never overlap."""
    first_s, last_s = (left.t_first_s, right.t_first_s), (left.t_last_s, right.t_last_s)
    return LossRecord(
        epoch=left.epoch,
        first_seq=min(left.first_seq, right.first_seq),
        last_seq=_combine_known(max, (left.last_seq, right.last_seq)),
        t_first_s=_combine_known(min, first_s),
        t_last_s=_combine_known(max, last_s),
        windows=_combine_known(sum, (left.windows, right.windows)),
        reason=left.reason,
    )


def _combine_known(combine: Callable[[Iterable[int]], int], values: Iterable[int | None]) -> int | None:
    """Combine the values; return None if one of them is None."""
    items = list(values)
    return None if None in items else combine(value for value in items if value is not None)
