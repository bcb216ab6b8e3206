"""Document of ``leadline import --json``, also the source of the text report. See docs/import.md.

Compatibility: keys are only added. IMPORT_VERSION increases if a key changes its meaning.
"""

from __future__ import annotations

from itertools import chain
from statistics import median_high

from msgspec import Struct

from leadline.rounding import format_percent
from leadline.statistics import compute_stats
from leadline_cli.check.document import CheckErrorBound, RttSummary
from leadline_cli.importers.pipeline import ImportFile
from leadline_cli.importers.printed_rtt import Rounding
from leadline_cli.importers.timestamps import format_timestamp

IMPORT_VERSION = 2


class ImportResult(Struct, frozen=True, kw_only=True):
    """Result of the upload to the collector."""

    #: Name of the source: ``import:`` and the site or agent.
    source: str
    target: str
    epoch: str
    batches: int
    #: Batches that the collector already had; all of them after an earlier import of the file.
    duplicates: int


class ImportDocument(Struct, frozen=True, kw_only=True):
    """Summary of a file and the result of its import."""

    version: int
    file: str
    sha256: str
    format: str
    #: Host as spelled in the file; null for a CSV.
    host: str | None
    address: str | None
    first_at: str
    last_at: str
    #: Median time between probes in microseconds; null for a single probe.
    period_us: int | None
    #: Length of a slot in milliseconds.
    interval_ms: int
    #: Coarsest resolution of the printed RTTs in microseconds; null without a reply.
    resolution_us: int | None
    #: ``exact``, ``nearest or down`` or ``unknown``.
    rounding: str
    #: Median and largest error bound of the windows; null without a reply.
    error_bound_us: CheckErrorBound | None
    windows: int
    expected: int
    sent: int
    received: int
    lost: int
    duplicates: int
    #: Share of measured slots.
    coverage_ratio: float
    #: Share of lost probes among the sent ones; null if none was sent.
    loss_ratio: float | None
    failures: dict[str, int]
    rtt_us: RttSummary
    notes: list[str]
    #: Null after ``--dry-run``.
    stored: ImportResult | None = None


def build_document(import_file: ImportFile, result: ImportResult | None) -> ImportDocument:
    """Build the document of a file."""
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
        rounding=import_file.rounding.value,
        error_bound_us=_summarise_error_bounds(import_file),
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


def _summarise_error_bounds(import_file: ImportFile) -> CheckErrorBound | None:
    bounds = [window.error_bound for window in import_file.windows if window.error_bound is not None]
    if not bounds:
        return None
    return CheckErrorBound(p50=median_high(bound.p50_us for bound in bounds), p99=max(bound.p99_us for bound in bounds))


def format_report(document: ImportDocument) -> str:
    """Format the document as text."""
    return "\n".join(_format_lines(document))


def _format_lines(document: ImportDocument) -> list[str]:
    host = f", host {document.host}" if document.host else ""
    return [
        f"{document.file}: {document.format}{host}",
        f"  times    {document.first_at} to {document.last_at}",
        f"  period   {_format_ms(document.period_us)} ms (median), slots of {document.interval_ms} ms",
        f"  windows  {document.windows}, coverage {format_percent(document.coverage_ratio, 2)} % of "
        f"{document.expected} slots",
        f"  probes   {document.sent} sent, {document.received} received, {document.lost} lost{_format_loss(document)}",
        *([f"  details  {_format_failures(document)}"] if document.failures or document.duplicates else []),
        f"  RTT      {_format_rtts(document.rtt_us)}  ms",
        *([f"  error    {_format_error(document)}"] if document.error_bound_us else []),
        *(f"  note     {note}" for note in document.notes),
        *([_format_result(document.stored)] if document.stored else ["  not imported (--dry-run)"]),
    ]


def _format_loss(document: ImportDocument) -> str:
    if not document.lost or document.loss_ratio is None:
        return ""
    return f" ({format_percent(document.loss_ratio, 2)} %)"


def _format_failures(document: ImportDocument) -> str:
    parts = [f"{count} {name}" for name, count in document.failures.items()]
    return ", ".join([*parts, *([f"{document.duplicates} duplicate replies"] if document.duplicates else [])])


def _format_rtts(rtt: RttSummary) -> str:
    values = (("min", rtt.min), ("p50", rtt.p50), ("p95", rtt.p95), ("p99", rtt.p99), ("max", rtt.max))
    return "  ".join(f"{name} {_format_ms(us)}" for name, us in values)


def _format_ms(us: int | None) -> str:
    return "-" if us is None else f"{us / 1_000:.3f}"


_ROUNDINGS = {
    Rounding.EXACT: "RTTs are exact to the microsecond",
    Rounding.NEAREST_OR_DOWN: "RTTs are rounded to {} µs, to the nearest value or down",
    Rounding.UNKNOWN: "RTTs are rounded to {} µs in an unknown way",
}


def _format_error(document: ImportDocument) -> str:
    assert document.error_bound_us is not None
    text = _ROUNDINGS[Rounding(document.rounding)].format(document.resolution_us)
    return (
        f"{text}: the own error is at most {document.error_bound_us.p99} µs (median {document.error_bound_us.p50} µs)"
    )


def _format_result(stored: ImportResult) -> str:
    if stored.duplicates == stored.batches:
        return f"  no change: already imported as {stored.source} to {stored.target}"
    again = f", {stored.duplicates} of them already present" if stored.duplicates else ""
    return f"  imported as {stored.source} to {stored.target} in {stored.batches} batches{again}"
