"""Export of the single probes of a pair: its paths, their windows hour by hour, and the reason if nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from leadline.clock import format_iso8601
from leadline.model import Pair, Window
from leadline.wire.batch import is_imported
from leadline.wire.probes import ProbeOrigin
from leadline_collector.analysis.pair_windows import iter_paths
from leadline_collector.analysis.probe_encoding import PathLabel, ProbeEncoder
from leadline_collector.config import DAY_S, Retention
from leadline_collector.db.transactions import ReadTransaction, Store
from leadline_collector.errors import NotFoundError
from leadline_collector.mesh import service as mesh_service
from leadline_collector.rollup import probe_reader
from leadline_collector.rollup.probe_reader import PathKey, StoredWindows
from leadline_collector.time_range import TimeRange
from leadline_collector.windows.dirty_hours import HOUR_S

#: Characters in one piece of a response. A window at the shortest interval has 6,000 rows, half a megabyte.
PIECE_LENGTH = 1 << 18


class LabelledWindow(NamedTuple):
    """A window with the names of its path."""

    label: PathLabel
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeExport:
    """The probes of a pair in a period; there is at least one."""

    #: Start of the first hour with probes, if probes before it were deleted; None otherwise.
    deleted_before_s: int | None
    #: Windows of one hour, in order of minute and path. Every step reads one hour in its own transaction.
    hours: Iterator[list[LabelledWindow]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Selection:
    """The paths of a pair, and the hours of the period that may have windows."""

    period: TimeRange
    labels: dict[PathKey, PathLabel]
    src_ids: set[int]
    #: Target ids by name.
    dst_ids: dict[str, int]
    hours_s: list[int]


def open_probe_export(store: Store, pair: Pair, period: TimeRange, retention: Retention) -> ProbeExport:
    """Find the first probes of a pair in a period, and return an iterator over all.

    Raise NotFoundError with the reason if a site is unknown or no probe of the period is kept.
    """
    with store.read() as reader:
        selection = _select_paths(reader, pair, period)
    hours = _iter_hours(store, selection)
    first = next(hours, None)
    if first is None:
        with store.read() as reader:
            raise NotFoundError(_explain_absence(reader, pair, selection, retention))
    first_hour_s = _floor_to_hour(first[0].window.start_s)
    with store.read() as reader:
        is_deleted = _load_stored_windows(reader, selection, first_hour_s).has_deleted_probes
    return ProbeExport(deleted_before_s=first_hour_s if is_deleted else None, hours=chain([first], hours))


def iter_rows(export: ProbeExport, encoder: ProbeEncoder) -> Iterator[str]:
    """Yield the encoded export in pieces of about ``PIECE_LENGTH`` characters."""
    piece, length = [encoder.header], 0
    for windows in export.hours:
        for label, window in windows:
            text = encoder.encode_window(label, window)
            piece.append(text)
            length += len(text)
            if length >= PIECE_LENGTH:
                yield "".join(piece)
                piece, length = [], 0
    if piece:
        yield "".join(piece)


def _select_paths(reader: ReadTransaction, pair: Pair, period: TimeRange) -> _Selection:
    paths = list(iter_paths(reader, pair))
    is_simulated = _has_simulated_site(reader, pair)
    src_ids, dst_ids = {agent.id for agent, _ in paths}, {target.name: target.id for _, target in paths}
    return _Selection(
        period=period,
        labels={
            (agent.id, target.id): PathLabel(
                agent=agent.name, target=target.name, origin=_find_origin(agent.name, is_simulated=is_simulated)
            )
            for agent, target in paths
        },
        src_ids=src_ids,
        dst_ids=dst_ids,
        hours_s=probe_reader.load_hours(reader.connection, src_ids, dst_ids.values(), period.start_s, period.end_s),
    )


def _has_simulated_site(reader: ReadTransaction, pair: Pair) -> bool:
    active_mesh = mesh_service.load_active_mesh(reader)
    sites = active_mesh[1].sites if active_mesh else ()
    return any(site.simulated for site in sites if site.name in {pair.source, pair.destination})


def _find_origin(agent: str, *, is_simulated: bool) -> ProbeOrigin:
    if is_simulated:
        return ProbeOrigin.SIMULATED
    return ProbeOrigin.IMPORTED if is_imported(agent) else ProbeOrigin.MEASURED


def _iter_hours(store: Store, selection: _Selection) -> Iterator[list[LabelledWindow]]:
    """Yield the windows of every hour that has some."""
    for hour_s in selection.hours_s:
        with store.read() as reader:
            by_path = probe_reader.load_hour_probes(reader.connection, selection.src_ids, selection.dst_ids, hour_s)
        windows = [
            LabelledWindow(selection.labels[key], window)
            for key, path_windows in by_path.items()
            for window in path_windows
            if selection.period.start_s <= window.start_s < selection.period.end_s
        ]
        if windows:
            yield sorted(windows, key=_get_position)


def _get_position(item: LabelledWindow) -> tuple[int, str, str]:
    return item.window.start_s, item.label.agent, item.label.target


def _load_stored_windows(reader: ReadTransaction, selection: _Selection, end_s: int) -> StoredWindows:
    """Return what is stored of the windows from the first hour of the period to ``end_s``."""
    return probe_reader.load_stored_windows(
        reader.connection,
        selection.src_ids,
        selection.dst_ids.values(),
        _floor_to_hour(selection.period.start_s),
        end_s,
    )


def _explain_absence(reader: ReadTransaction, pair: Pair, selection: _Selection, retention: Retention) -> str:
    """Explain why no probe of the period is kept."""
    period, stored = selection.period, _load_stored_windows(reader, selection, selection.period.end_s)
    subject = (
        f"no single probe from {pair.source} to {pair.destination} is stored for {format_iso8601(period.start_s)} to "
        f"{format_iso8601(period.end_s)}"
    )
    if stored.has_deleted_probes:
        oldest_s = probe_reader.load_oldest_chunk_s(reader.connection, selection.src_ids, selection.dst_ids.values())
        oldest = "none of this pair is left" if oldest_s is None else f"the oldest is of {format_iso8601(oldest_s)}"
        keep = "for ever" if retention.raw_s is None else f"for {retention.raw_s // DAY_S} days"
        return (
            f"{subject}: they were deleted. The collector keeps single probes {keep} (--keep-raw); {oldest}. "
            "The statistics of each minute are kept longer: leadline verdict --export"
        )
    if stored.has_simulated:
        return f"{subject}: the windows of this period are simulated, and simulated windows have no single probes"
    return f"{subject}: nothing was measured; GET /api/v1/agents/AGENT/gaps lists the reasons"


def _floor_to_hour(second: int) -> int:
    return second - second % HOUR_S
