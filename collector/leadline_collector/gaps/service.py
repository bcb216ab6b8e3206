"""The gaps of one agent in a period, read from the store: what was told, what is in quarantine, what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from leadline.clock import iso
from leadline.wire.batch import GapReason, is_imported
from leadline_collector.db.transactions import Reader, Store
from leadline_collector.errors import NotFoundError
from leadline_collector.gaps import store as gap_store
from leadline_collector.gaps.detection import Explanation, Neighbours, agent_holes, explained, path_holes, true_span
from leadline_collector.gaps.documents import GapAnswer, GapsAnswer
from leadline_collector.gaps.store import Quarantined, ToldGap
from leadline_collector.journal import store as journal_store
from leadline_collector.journal.store import Seal
from leadline_collector.mesh import store as mesh_store
from leadline_collector.time_range import Period
from leadline_collector.windows import store as window_store
from leadline_collector.windows.intervals import Span, minus, union

#: Gaps in one answer; a month of an agent that is down every other minute has 20,000.
LIMIT_DEFAULT = 1_000
LIMIT_MAX = 10_000
SOURCE_COLLECTOR = "collector"
#: A batch in quarantine may be of any minute before it was received; none is kept longer than this by its agent.
DELIVERY_S_MAX = 400 * 86_400


def agent_gaps(store: Store, name: str, period: Period, limit: int = LIMIT_DEFAULT) -> GapsAnswer:
    """Every hole in what an agent delivered of a period, in order of time; 404 for no agent."""
    with store.read() as reader:
        found = _in_order(reader, name, period)
        cut = found[limit].span[0] if len(found) > limit else None
        gaps = [gap.answer() for gap in found[:limit]]
    return GapsAnswer(
        agent=name,
        start_s=period.start_s,
        start_iso=iso(period.start_s),
        end_s=period.end_s,
        end_iso=iso(period.end_s),
        gaps=gaps,
        next_from=cut,
    )


def all_gaps(reader: Reader, name: str, period: Period) -> list[GapAnswer]:
    """The same without a limit."""
    return [gap.answer() for gap in _in_order(reader, name, period)]


def _in_order(reader: Reader, name: str, period: Period) -> list[_Found]:
    src_id = None if is_imported(name) else mesh_store.load_agent_ids(reader.connection, [name]).get(name)
    if src_id is None:
        raise NotFoundError(f"no mesh ever had an agent {name!r}")
    return sorted(_found(reader, src_id, (period.start_s, period.end_s)), key=lambda gap: (gap.span, gap.source))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A gap whose explanation may still cost some questions: asked only of those that are shown."""

    span: Span
    source: str
    answer: Callable[[], GapAnswer]


def _found(reader: Reader, src_id: int, period: Span) -> Iterator[_Found]:
    islands = window_store.load_islands(reader.connection, src_id, *period)
    told = gap_store.told_gaps(reader.connection, src_id, *period)
    quarantined = list(_in_quarantine(reader, src_id, period))
    known = union([*((gap.from_s, gap.to_s) for gap in told), *(span for span, _ in quarantined)])
    for gap in told:
        yield _Found(span=(gap.from_s, gap.to_s), source=gap.source, answer=partial(_told_answer, gap))
    for span, item in quarantined:
        yield _Found(span=span, source=SOURCE_COLLECTOR, answer=partial(_quarantine_answer, span, item))
    for hole in minus(agent_holes(islands, period), known):
        yield _Found(span=hole, source=SOURCE_COLLECTOR, answer=partial(_explained_answer, reader, src_id, hole))
    names = {target.id: target.name for target in mesh_store.load_targets(reader.connection)}
    for (span, reason), dst_ids in path_holes(islands, period).items():
        targets = [names[dst_id] for dst_id in dst_ids]
        for hole in minus([span], known):
            answer = partial(_found_answer, hole, Explanation(reason=reason), targets)
            yield _Found(span=hole, source=SOURCE_COLLECTOR, answer=answer)


def _in_quarantine(reader: Reader, src_id: int, period: Span) -> Iterator[tuple[Span, Quarantined]]:
    references: dict[str, Seal | None] = {}
    for found in gap_store.quarantined(reader.connection, src_id, period[0], period[1] + DELIVERY_S_MAX):
        span = true_span(found, _reference(reader, src_id, found.seal, references))
        if span[0] < period[1] and period[0] < span[1]:
            yield span, found


def _reference(reader: Reader, src_id: int, seal: Seal, known: dict[str, Seal | None]) -> Seal | None:
    """A believable batch of the same boot; each boot is looked for once."""
    if seal.boot_id is None:
        return None
    if seal.boot_id not in known:
        known[seal.boot_id] = journal_store.seal_of_boot(reader.connection, src_id, seal.boot_id)
    return known[seal.boot_id]


def _neighbours(reader: Reader, src_id: int, hole: Span) -> Neighbours:
    before = journal_store.seal_before(reader.connection, src_id, hole[0])
    after = journal_store.seal_after(reader.connection, src_id, hole[0])
    if before is None or after is None or after.key.seq <= before.key.seq + 1:
        return Neighbours(before=before, after=after)
    between = (before.key.epoch, before.key.seq + 1, after.key.seq - 1)
    empty = journal_store.seals_without_windows(reader.connection, src_id, *between)
    in_quarantine = gap_store.numbers_in_quarantine(reader.connection, src_id, *between)
    return Neighbours(
        before=before,
        after=after,
        told=gap_store.told_of_numbers(reader.connection, src_id, *between),
        empty=empty - in_quarantine,
        quarantined=in_quarantine,
    )


def _explained_answer(reader: Reader, src_id: int, hole: Span) -> GapAnswer:
    return _found_answer(hole, explained(hole, _neighbours(reader, src_id, hole)))


def _found_answer(hole: Span, why: Explanation, targets: Sequence[str] | None = None) -> GapAnswer:
    return _answer(
        hole,
        why.reason,
        SOURCE_COLLECTOR,
        targets=None if targets is None else list(targets),
        epoch=why.epoch,
        numbers=(why.first_seq, why.last_seq),
    )


def _told_answer(gap: ToldGap) -> GapAnswer:
    return _answer(
        (gap.from_s, gap.to_s),
        gap.reason,
        gap.source,
        windows=gap.windows,
        epoch=gap.epoch,
        numbers=(gap.first_seq, gap.last_seq),
        noted_at_s=gap.noted_at_s,
    )


def _quarantine_answer(span: Span, found: Quarantined) -> GapAnswer:
    kept, seal = found.quarantine, found.seal
    return _answer(
        span,
        kept.reason,
        SOURCE_COLLECTOR,
        windows=kept.windows,
        epoch=seal.key.epoch,
        numbers=(seal.key.seq, seal.key.seq),
        noted_at_s=seal.received_at_s,
        path=kept.path,
    )


def _answer(
    span: Span,
    reason: GapReason,
    source: str,
    *,
    targets: list[str] | None = None,
    windows: int | None = None,
    epoch: bytes | None = None,
    numbers: tuple[int | None, int | None] = (None, None),
    noted_at_s: int | None = None,
    path: str | None = None,
) -> GapAnswer:
    return GapAnswer(
        start_s=span[0],
        start_iso=iso(span[0]),
        end_s=span[1],
        end_iso=iso(span[1]),
        reason=reason,
        source=source,
        targets=targets,
        windows=windows,
        epoch=None if epoch is None else epoch.hex(),
        first_seq=numbers[0],
        last_seq=numbers[1],
        noted_at=noted_at_s,
        path=path,
    )
