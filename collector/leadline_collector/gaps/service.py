"""The gaps of one agent in a period: reported by the agent, in quarantine, and detected by the collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from leadline.clock import format_iso8601
from leadline.wire.batch import GapReason, is_imported
from leadline_collector.db.transactions import ReadTransaction
from leadline_collector.errors import NotFoundError
from leadline_collector.gaps import store as gap_store
from leadline_collector.gaps.detection import (
    GapExplanation,
    Neighbours,
    estimate_measured_interval,
    explain_hole,
    find_agent_holes,
    find_path_holes,
)
from leadline_collector.gaps.documents import GapListResponse, GapResponse
from leadline_collector.gaps.store import QuarantinedBatch, ReportedGap
from leadline_collector.journal import store as journal_store
from leadline_collector.journal.store import BatchClock
from leadline_collector.mesh import store as mesh_store
from leadline_collector.time_range import TimeRange
from leadline_collector.windows import store as window_store
from leadline_collector.windows.intervals import Interval, merge_intervals, subtract_intervals

#: Gaps in one response; an agent that is down every other minute has 20,000 a month.
LIMIT_DEFAULT = 1_000
LIMIT_MAX = 10_000
SOURCE_COLLECTOR = "collector"
#: A quarantined batch may be of any minute before its receipt, but an agent keeps no batch longer than this.
DELIVERY_DELAY_S_MAX = 400 * 86_400


def find_agent_gaps(
    reader: ReadTransaction, name: str, period: TimeRange, limit: int = LIMIT_DEFAULT
) -> GapListResponse:
    """Return the first ``limit`` gaps of an agent in a period, in order of time; raise NotFoundError if unknown."""
    drafts = _find_sorted_gaps(reader, name, period)
    next_start_s = drafts[limit].span[0] if len(drafts) > limit else None
    gaps = [draft.build_document() for draft in drafts[:limit]]
    return GapListResponse(
        agent=name,
        start_s=period.start_s,
        start_iso=format_iso8601(period.start_s),
        end_s=period.end_s,
        end_iso=format_iso8601(period.end_s),
        gaps=gaps,
        next_from=next_start_s,
    )


def find_all_gaps(reader: ReadTransaction, name: str, period: TimeRange) -> list[GapResponse]:
    """Return every gap of an agent in a period, in order of time; raise NotFoundError without the agent."""
    return [draft.build_document() for draft in _find_sorted_gaps(reader, name, period)]


def _find_sorted_gaps(reader: ReadTransaction, name: str, period: TimeRange) -> list[_GapDraft]:
    src_id = None if is_imported(name) else mesh_store.load_agent_ids(reader.connection, [name]).get(name)
    if src_id is None:
        raise NotFoundError(f"no mesh ever had an agent {name!r}")
    return sorted(
        _iter_gaps(reader, src_id, (period.start_s, period.end_s)), key=lambda draft: (draft.span, draft.source)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _GapDraft:
    """A gap without its explanation, which may need queries: only the gaps of the response are explained."""

    span: Interval
    source: str
    build_document: Callable[[], GapResponse]


def _iter_gaps(reader: ReadTransaction, src_id: int, period: Interval) -> Iterator[_GapDraft]:
    islands = window_store.load_islands(reader.connection, src_id, *period)
    reported_gaps = gap_store.load_reported_gaps(reader.connection, src_id, *period)
    quarantined_batches = list(_iter_quarantined(reader, src_id, period))
    explained_spans = merge_intervals(
        [*((gap.from_s, gap.to_s) for gap in reported_gaps), *(span for span, _ in quarantined_batches)]
    )
    for gap in reported_gaps:
        yield _GapDraft(
            span=(gap.from_s, gap.to_s), source=gap.source, build_document=partial(_build_reported_gap, gap)
        )
    for span, batch in quarantined_batches:
        yield _GapDraft(span=span, source=SOURCE_COLLECTOR, build_document=partial(_build_quarantine_gap, span, batch))
    for hole in subtract_intervals(find_agent_holes(islands, period), explained_spans):
        yield _GapDraft(
            span=hole, source=SOURCE_COLLECTOR, build_document=partial(_explain_and_build, reader, src_id, hole)
        )
    names = {target.id: target.name for target in mesh_store.load_targets(reader.connection)}
    for (span, reason), dst_ids in find_path_holes(islands, period).items():
        targets = [names[dst_id] for dst_id in dst_ids]
        for hole in subtract_intervals([span], explained_spans):
            build_document = partial(_build_detected_gap, hole, GapExplanation(reason=reason), targets)
            yield _GapDraft(span=hole, source=SOURCE_COLLECTOR, build_document=build_document)


def _iter_quarantined(
    reader: ReadTransaction, src_id: int, period: Interval
) -> Iterator[tuple[Interval, QuarantinedBatch]]:
    references: dict[str, BatchClock | None] = {}
    for batch in gap_store.load_quarantined_batches(
        reader.connection, src_id, period[0], period[1] + DELIVERY_DELAY_S_MAX
    ):
        span = estimate_measured_interval(batch, _find_boot_reference(reader, src_id, batch.batch_clock, references))
        if span[0] < period[1] and period[0] < span[1]:
            yield span, batch


def _find_boot_reference(
    reader: ReadTransaction, src_id: int, batch_clock: BatchClock, references: dict[str, BatchClock | None]
) -> BatchClock | None:
    """Return a plausible batch of the same boot, or None; query each boot once."""
    if batch_clock.boot_id is None:
        return None
    if batch_clock.boot_id not in references:
        references[batch_clock.boot_id] = journal_store.load_last_batch_clock_of_boot(
            reader.connection, src_id, batch_clock.boot_id
        )
    return references[batch_clock.boot_id]


def _load_neighbours(reader: ReadTransaction, src_id: int, hole: Interval) -> Neighbours:
    before = journal_store.load_batch_clock_before(reader.connection, src_id, hole[0])
    after = journal_store.load_batch_clock_after(reader.connection, src_id, hole[0])
    if before is None or after is None or after.key.seq <= before.key.seq + 1:
        return Neighbours(before=before, after=after)
    seq_range = (before.key.epoch, before.key.seq + 1, after.key.seq - 1)
    empty_seqs = journal_store.load_empty_seqs(reader.connection, src_id, *seq_range)
    quarantined_seqs = gap_store.load_quarantined_seqs(reader.connection, src_id, *seq_range)
    return Neighbours(
        before=before,
        after=after,
        reported_gaps=gap_store.load_gaps_for_seqs(reader.connection, src_id, *seq_range),
        empty_seqs=empty_seqs - quarantined_seqs,
        quarantined_seqs=quarantined_seqs,
    )


def _explain_and_build(reader: ReadTransaction, src_id: int, hole: Interval) -> GapResponse:
    return _build_detected_gap(hole, explain_hole(hole, _load_neighbours(reader, src_id, hole)))


def _build_detected_gap(
    hole: Interval, explanation: GapExplanation, targets: Sequence[str] | None = None
) -> GapResponse:
    return _build_gap(
        hole,
        explanation.reason,
        SOURCE_COLLECTOR,
        targets=None if targets is None else list(targets),
        epoch=explanation.epoch,
        seqs=(explanation.first_seq, explanation.last_seq),
    )


def _build_reported_gap(gap: ReportedGap) -> GapResponse:
    return _build_gap(
        (gap.from_s, gap.to_s),
        gap.reason,
        gap.source,
        windows=gap.windows,
        epoch=gap.epoch,
        seqs=(gap.first_seq, gap.last_seq),
        noted_at_s=gap.recorded_at_s,
    )


def _build_quarantine_gap(span: Interval, batch: QuarantinedBatch) -> GapResponse:
    quarantine, clock = batch.quarantine, batch.batch_clock
    return _build_gap(
        span,
        quarantine.reason,
        SOURCE_COLLECTOR,
        windows=quarantine.windows,
        epoch=clock.key.epoch,
        seqs=(clock.key.seq, clock.key.seq),
        noted_at_s=clock.received_at_s,
        path=quarantine.path,
    )


def _build_gap(
    span: Interval,
    reason: GapReason,
    source: str,
    *,
    targets: list[str] | None = None,
    windows: int | None = None,
    epoch: bytes | None = None,
    seqs: tuple[int | None, int | None] = (None, None),
    noted_at_s: int | None = None,
    path: str | None = None,
) -> GapResponse:
    return GapResponse(
        start_s=span[0],
        start_iso=format_iso8601(span[0]),
        end_s=span[1],
        end_iso=format_iso8601(span[1]),
        reason=reason,
        source=source,
        targets=targets,
        windows=windows,
        epoch=None if epoch is None else epoch.hex(),
        first_seq=seqs[0],
        last_seq=seqs[1],
        noted_at=noted_at_s,
        path=path,
    )
