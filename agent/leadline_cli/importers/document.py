"""The document of ``leadline import --json``, from which the text is written too; docs/import.md explains it.

Keys are only ever added; IMPORT_VERSION rises when one changes its meaning.
"""

from __future__ import annotations

from itertools import chain

from msgspec import Struct

from leadline.statistics import compute_stats
from leadline_cli.check.document import RttSummary
from leadline_cli.importers.pipeline import ImportFile
from leadline_cli.importers.timestamps import format_timestamp

IMPORT_VERSION = 1


class ImportResult(Struct, frozen=True, kw_only=True):
    """What the collector has of it now."""

    #: Name of the source: ``import:`` and the site or agent.
    source: str
    target: str
    epoch: str
    batches: int
    #: Batches that were there before; all of them if the file was imported before.
    duplicates: int


class ImportDocument(Struct, frozen=True, kw_only=True):
    """What is in a file, and what became of it."""

    version: int
    file: str
    sha256: str
    format: str
    #: As the file names it; null in a CSV.
    host: str | None
    address: str | None
    first_at: str
    last_at: str
    #: Median distance of probes in microseconds; null for a single one.
    period_us: int | None
    #: Length of a slot.
    interval_ms: int
    #: The step in which the program printed RTTs; null if the file does not show it.
    resolution_us: int | None
    windows: int
    expected: int
    sent: int
    received: int
    lost: int
    duplicates: int
    #: Share of the slots that were measured.
    coverage_ratio: float
    #: Share of the probes sent that were lost; null if none was sent.
    loss_ratio: float | None
    failures: dict[str, int]
    rtt_us: RttSummary
    notes: list[str]
    #: Null after ``--dry-run``.
    stored: ImportResult | None = None


def build_document(import_file: ImportFile, result: ImportResult | None) -> ImportDocument:
    """The document about a file that was read and cut into windows."""
    stats = compute_stats(
        tuple(chain.from_iterable(window.rtt_us for window in import_file.windows)),
        (miss.failure for window in import_file.windows for miss in window.misses),
    )
    return ImportDocument(
        version=IMPORT_VERSION,
        file=import_file.file,
        sha256=import_file.sha256,
        format=import_file.format.value,
        host=import_file.host,
        address=import_file.address,
        first_at=format_timestamp(import_file.first_us),
        last_at=format_timestamp(import_file.last_us),
        period_us=import_file.period_us,
        interval_ms=import_file.interval_ms,
        resolution_us=import_file.resolution_us,
        windows=len(import_file.windows),
        expected=stats.expected,
        sent=stats.sent,
        received=stats.received,
        lost=stats.lost,
        duplicates=sum(window.duplicates for window in import_file.windows),
        coverage_ratio=stats.sent / stats.expected,
        loss_ratio=stats.lost / stats.sent if stats.sent else None,
        failures={failure.value: count for failure, count in stats.failures.items()},
        rtt_us=RttSummary(
            min=stats.min_us,
            mean=stats.mean_us,
            p50=stats.p50_us,
            p95=stats.p95_us,
            p99=stats.p99_us,
            max=stats.max_us,
        ),
        notes=list(import_file.notes),
        stored=result,
    )


def format_report(document: ImportDocument) -> str:
    """The document for a person."""
    return "\n".join(_format_lines(document))


def _format_lines(found: ImportDocument) -> list[str]:
    of = f", host {found.host}" if found.host else ""
    return [
        f"{found.file}: {found.format}{of}",
        f"  times    {found.first_at} to {found.last_at}",
        f"  period   {_format_ms(found.period_us)} ms (median), slots of {found.interval_ms} ms",
        f"  windows  {found.windows}, coverage {100 * found.coverage_ratio:.2f} % of {found.expected} slots",
        f"  probes   {found.sent} sent, {found.received} received, {found.lost} lost{_format_loss(found)}",
        *([f"  beside   {_format_failures(found)}"] if found.failures or found.duplicates else []),
        f"  RTT      {_format_rtts(found.rtt_us)}  ms",
        *(f"  note     {note}" for note in found.notes),
        *([_format_result(found.stored)] if found.stored else ["  nothing was imported: --dry-run"]),
    ]


def _format_loss(found: ImportDocument) -> str:
    return "" if not found.lost or found.loss_ratio is None else f" ({100 * found.loss_ratio:.3g} %)"


def _format_failures(found: ImportDocument) -> str:
    parts = [f"{count} {name}" for name, count in found.failures.items()]
    return ", ".join([*parts, *([f"{found.duplicates} duplicate replies"] if found.duplicates else [])])


def _format_rtts(rtt: RttSummary) -> str:
    values = (("min", rtt.min), ("p50", rtt.p50), ("p95", rtt.p95), ("p99", rtt.p99), ("max", rtt.max))
    return "  ".join(f"{name} {_format_ms(us)}" for name, us in values)


def _format_ms(us: int | None) -> str:
    return "-" if us is None else f"{us / 1_000:.3f}"


def _format_result(stored: ImportResult) -> str:
    if stored.duplicates == stored.batches:
        return f"  nothing changed: it was imported before as {stored.source} to {stored.target}"
    again = f", {stored.duplicates} of them before" if stored.duplicates else ""
    return f"  imported as {stored.source} to {stored.target} in {stored.batches} batches{again}"
