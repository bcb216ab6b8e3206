"""Output of ``leadline check``: text report, JSON, and the live table on a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from leadline.model import us_ceil
from leadline.rounding import round_down
from leadline.statistics import WindowStats, compute_stats
from leadline_cli.check.document import CheckDocument, CheckErrorBound, ProfileCheckResult, TargetCheckResult

if TYPE_CHECKING:
    from leadline_cli.check.measurement import CheckMeasurement

_WIDTH = 100


def format_json(document: CheckDocument) -> str:
    """Format the document as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def format_report(document: CheckDocument) -> str:
    """Format the text report."""
    blocks = [_format_target(target) for target in document.targets]
    return "\n\n".join([*blocks, _format_footer(document)])


def _format_target(target: TargetCheckResult) -> str:
    name = target.host if target.host == target.address else f"{target.host} ({target.address})"
    lines = [name, *_format_measurement(target)]
    for profile in target.profiles:
        lines += ["", *_format_profile(profile)]
    return "\n".join(lines)


def _format_measurement(target: TargetCheckResult) -> list[str]:
    rtt, jitter = target.rtt_us, target.jitter_us
    not_measured = target.expected - target.sent
    counts = f"{target.sent} sent, {target.received} received, {target.lost} lost"
    counts += f", {not_measured} not measured" if not_measured else ""
    counts += f", {target.duplicates} duplicates" if target.duplicates else ""
    lines = [f"  probes   {counts}"]
    if target.failures:
        lines.append("  failed   " + ", ".join(f"{count} {name}" for name, count in target.failures.items()))
    if target.received:
        lost = "lost" if target.lost else "-"
        statistics = {"min": rtt.min, "p50": rtt.p50, "p95": rtt.p95, "p99": rtt.p99, "max": rtt.max, "mean": rtt.mean}
        values = "  ".join(f"{name} {lost if us is None else f'{us / 1_000:.3f}'}" for name, us in statistics.items())
        lines += [
            f"  RTT      {values}  ms",
            f"  jitter   p95 - min {_format_ms(jitter.pdv)}, mean step {_format_ms(jitter.mean_step)}, "
            f"RFC 3550 {_format_ms(jitter.rfc3550)} (informational)",
        ]
        lines.append(f"  error    {_format_error_bound(target.error_bound_us)}")
    return lines


def _format_ms(us: int | None) -> str:
    return "not defined" if us is None else f"{us / 1_000:.3f} ms"


def _format_error_bound(bound: CheckErrorBound | None) -> str:
    if bound is None:
        return "unknown: no reply from the loopback address of this host"
    return f"this host added at most {_format_ms(bound.p50)} (p50), {_format_ms(bound.p99)} (p99) to an RTT"


def _format_profile(profile: ProfileCheckResult) -> list[str]:
    lines = [f"  {str(profile.verdict).upper()}: {profile.title} [{profile.id}]", *_wrap(profile.reason)]
    if profile.source:
        source = profile.source
        place = f"{source.url} " if source.url else ""
        words = [
            f"; {limit.status}, {limit.confidence}, {limit.strength}"
            for limit in profile.limits
            if limit.limit_id == profile.limit_id
        ]
        lines += _wrap(
            f"limit {profile.limit_id}: {source.vendor}, {source.title}, {place}(read in: {source.read_in}"
            f"{''.join(words)})"
        )
    if profile.physics and profile.physics.route_factor_max is not None:
        propagation = profile.physics
        glass_ms = round_down(propagation.floor_glass_us / 1_000, 2)
        lines += _wrap(
            f"physics: {propagation.distance_km:.0f} km, minimum RTT {glass_ms} ms in fibre; "
            f"the limit allows {round_down(propagation.reach_km, 0)} km, "
            f"or a route {round_down(profile.physics.route_factor_max, 2)} times the distance"
        )
    if profile.note:
        lines += _wrap(f"note: {profile.note}")
    for limit in profile.limits:
        if limit.reservations:
            lines += _wrap(f"weak limit {limit.limit_id}: {limit.reservations}")
    for item in profile.not_judged:
        lines += _wrap(f"not evaluated, {item.limit_id}: {item.reason}")
    return lines


def _wrap(paragraph: str) -> list[str]:
    return textwrap.wrap(
        paragraph,
        width=_WIDTH,
        initial_indent="    ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _format_footer(document: CheckDocument) -> str:
    return "\n".join(
        textwrap.wrap(
            'A short measurement can prove a violation, but never compliance. The verdict "within 99.5 % of the time" '
            f"needs {document.days_to_within_provisional} days without a bad minute (provisional) or "
            f"{document.days_to_within} days (final). Use `leadline agent` for that.",
            width=_WIDTH,
        )
    )


@contextmanager
def show_progress(slots: int) -> Iterator[Callable[[CheckMeasurement], None]]:
    """Yield a function that draws the progress on standard error, one line for each target. Erase it at the end."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def draw(run: CheckMeasurement) -> None:
            table = Table("host", "probes", "lost", "last ms", "min", "p50", "p95", "max", box=None, pad_edge=False)
            for host, _ in run.targets:
                table.add_row(host, *_format_live_cells(run, host, slots))
            live.update(table, refresh=True)

        yield draw


def _format_live_cells(run: CheckMeasurement, host: str, slots: int) -> list[str]:
    results = run.results.get(host, [])
    rtts_us = [None if result.rtt_ns is None else us_ceil(result.rtt_ns) for result in results]
    stats: WindowStats = compute_stats(rtts_us, [result.failure for result in results if result.failure is not None])
    last_us = next((rtt for rtt in reversed(rtts_us) if rtt is not None), None)
    statistics = (last_us, stats.min_us, stats.p50_us, stats.p95_us, stats.max_us)
    return [
        f"{len(results)}/{slots}",
        str(stats.lost),
        *("-" if us is None else f"{us / 1_000:.3f}" for us in statistics),
    ]
