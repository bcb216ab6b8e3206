"""Tombstones: notes of what was measured and will not arrive, and why. Pure.

A tombstone claims at most too much: a batch it names may have reached the collector by another copy, never the other
way round. Who has the batch in the store lets the batch win.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from leadline_agent.spool.record_format import Record, RecordKind


class LossReason(StrEnum):
    """Why batches are lost. The list is closed."""

    #: Given up for room: the budget, the disk or the memory was full.
    OVERFLOW = "spool_overflow"
    #: Damaged or removed on disk.
    CORRUPT = "spool_corrupt"
    #: The collector will never take it; its bytes are kept for a while as a dead letter.
    REFUSED = "refused"


class LossRecord(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Batches ``first_seq`` to ``last_seq`` of an epoch, both included, are lost.

    ``last_seq`` is None where damage hides how many there were. Times are epoch seconds: the minutes of the first and
    of the last window, as far as known. ``windows`` is None when nobody knows how many.
    """

    epoch: str
    first_seq: int
    last_seq: int | None
    t_first_s: int | None
    t_last_s: int | None
    windows: int | None
    reason: LossReason


def encode_loss_records(loss_records: Sequence[LossRecord], epoch: str, next_seq: int) -> Record:
    """The record that carries them. Should it begin a segment, that is one of ``epoch``, from ``next_seq`` on."""
    return Record(kind=RecordKind.LOSS_RECORDS, epoch=epoch, seq=next_seq, payload=msgspec.json.encode(loss_records))


def decode_loss_records(payload: bytes) -> list[LossRecord]:
    """What ``tombstone_frame`` wrote; none where a later version wrote something else."""
    try:
        return msgspec.json.decode(payload, type=list[LossRecord])
    except msgspec.DecodeError:
        return []


def is_superset(one: LossRecord, other: LossRecord) -> bool:
    """Whether ``one`` tells all that ``other`` tells of what is lost."""
    if one.epoch != other.epoch or one.first_seq > other.first_seq:
        return False
    return one.last_seq is None or (other.last_seq is not None and other.last_seq <= one.last_seq)


def merge_adjacent(loss_records: Iterable[LossRecord]) -> list[LossRecord]:
    """The same losses with neighbours made one, each mentioned once, in order of epoch, reason and number."""
    result: list[LossRecord] = []
    for one in sorted(set(loss_records), key=_sort_key):
        last = result[-1] if result else None
        if last is not None and _is_adjacent(last, one):
            result[-1] = _merge_pair(last, one)
        else:
            result.append(one)
    return result


def merge_by_reason(loss_records: Iterable[LossRecord]) -> list[LossRecord]:
    """One tombstone for each epoch and reason, from its first number to its last: claims what lies between as well."""
    result: dict[tuple[str, LossReason], LossRecord] = {}
    for one in sorted(set(loss_records), key=_sort_key):
        key = (one.epoch, one.reason)
        result[key] = _merge_pair(result[key], one) if key in result else one
    return list(result.values())


def _sort_key(one: LossRecord) -> tuple[str, str, int, bool, int]:
    return one.epoch, one.reason, one.first_seq, one.last_seq is None, one.last_seq or 0


def _is_adjacent(one: LossRecord, behind: LossRecord) -> bool:
    return (
        (one.epoch, one.reason) == (behind.epoch, behind.reason)
        and one.last_seq is not None
        and behind.first_seq == one.last_seq + 1
    )


def _merge_pair(one: LossRecord, other: LossRecord) -> LossRecord:
    """Both in one. Windows are added: ranges that overlap are counted twice, which ``joined`` never does."""
    first_s, last_s = (one.t_first_s, other.t_first_s), (one.t_last_s, other.t_last_s)
    return LossRecord(
        epoch=one.epoch,
        first_seq=min(one.first_seq, other.first_seq),
        last_seq=_combine_known(max, (one.last_seq, other.last_seq)),
        t_first_s=_combine_known(min, first_s),
        t_last_s=_combine_known(max, last_s),
        windows=_combine_known(sum, (one.windows, other.windows)),
        reason=one.reason,
    )


def _combine_known(combine: Callable[[Iterable[int]], int], values: Iterable[int | None]) -> int | None:
    """What is unknown in one is unknown in both."""
    known = list(values)
    return None if None in known else combine(value for value in known if value is not None)
