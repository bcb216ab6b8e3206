"""Text report and progress display of ``leadline verdict``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from leadline.rounding import format_nominal_percent, format_percent, round_down

if TYPE_CHECKING:
    from leadline_verdict.document import (
        PairVerdict,
        ProfileSection,
        PropagationSection,
        RequirementSection,
        RttSection,
        RuleSection,
        SharesSection,
        SitesVerdict,
        VerdictDocument,
    )

_WIDTH = 110
#: Maximum number of episodes in the text; --json has more.
_EPISODES_MAX = 5
#: Rule of use of a recommendation.
_ADVICE = "advice, not requirement"


def format_report(document: VerdictDocument) -> str:
    """Format the report: request, profiles, pairs, then site sets."""
    rule = document.rule
    head = (
        f"{document.start_iso} to {document.end_iso}, {document.days} days. Requirement: "
        f"{format_nominal_percent(rule.target_share, 3)} % of the minutes within the limit, "
        f"at {rule.confidence:.0%} confidence (rule {rule.id}; "
        f"assumed longest unobserved outage: {rule.unseen_windows} min{_format_provisional(rule)}; "
        f"unknown minutes: {rule.missing})"
    )
    blocks = ["\n".join(_wrap(head, ""))]
    blocks += [_format_profile(profile) for profile in document.profiles]
    blocks += [_format_pair(pair) for pair in document.pairs]
    site_sets = [*document.site_pairs, *document.sets]
    if len(document.pairs) > 1:
        blocks.append("\n".join(_format_sites(sites) for sites in site_sets))
    return "\n\n".join(blocks)


def _format_provisional(rule: RuleSection) -> str:
    minutes = rule.unseen_windows_provisional
    return f", {minutes} min for provisional results" if minutes else ""


def _format_profile(profile: ProfileSection) -> str:
    lines = [f"{profile.title} [{profile.id}]"]
    if profile.note:
        lines += _wrap(f"note: {profile.note}", "  ")
    for item in profile.requirements:
        lines += _wrap(_format_requirement(item), "  ")
    for statement in profile.statements or ():
        state = "confirmed" if statement.confirmed else "not confirmed"
        source = f"{statement.title}, {statement.url or 'no URL'}"
        lines += _wrap(f"statement ({statement.id}, {state}): {statement.text} {source}", "  ")
    return "\n".join(lines)


def _format_requirement(item: RequirementSection) -> str:
    origin = {"overridden": f", overridden (catalogue value: {item.was})", "user": ", custom"}.get(item.origin, "")
    how = item.rule or item.reason or {"loss": "loss over the whole period", "declared": "declared"}.get(item.how, "")
    if item.how == "declared":
        how = "not declared" if item.declared is None else f"declared {item.declared}"
    status = [word for word in (item.status, item.confidence, item.strength) if word]
    weak = [word for word in status if word not in {"current", "vendor", "requirement"}]
    rules = list(item.use_rules or ())
    # The rule has the words for a recommendation.
    words = [word for word in weak if word != "recommendation" or _ADVICE not in rules] + rules
    origin += f" ({'; '.join(words)})" if words else ""
    source = f"; {item.source.title}, {item.source.url or 'no URL'}" if item.source else ""
    assumed = f" ({item.approximation})" if item.approximation else ""
    return f"{item.id} {item.text}{origin}: {how}{assumed}{source}"


def _format_pair(pair: PairVerdict) -> str:
    labels = f" ({', '.join(label.replace('_', ' ') for label in pair.labels)})" if pair.labels else ""
    confidence = f", {pair.confidence}" if pair.confidence else ""
    provenance = format_provenance(pair)
    lines = [
        f"{pair.source} -> {pair.destination}: {_format_verdict(pair.verdict)}{labels}{confidence} [{pair.profile}]"
        f"{f' {provenance}' if provenance else ''}"
    ]
    for reason in pair.reasons:
        lines += _wrap(reason.text, "  because ")
    if pair.coverage is not None:
        lines += _format_share_lines(pair.shares, pair.coverage)
    if pair.rtt.sent:
        lines += _format_rtt_lines(pair.rtt)
    if pair.physics:
        lines += _wrap(_format_propagation(pair.physics), "  physics  ")
    return "\n".join(lines if pair.coverage is None else [*lines, *_iter_detail_lines(pair)])


def _iter_detail_lines(pair: PairVerdict) -> Iterator[str]:
    for episode in sorted(pair.episodes, key=lambda episode: -episode.minutes)[:_EPISODES_MAX]:
        worst = "lost" if episode.p95_us_worst is None else _format_ms(episode.p95_us_worst)
        yield (
            f"  episode  {episode.start_iso}, {episode.minutes:,} min, worst p95 {worst}, "
            f"{episode.lost:,} of {episode.sent:,} lost"
        )
    if pair.episodes_total > _EPISODES_MAX:
        yield f"  episodes {pair.episodes_total:,} in total; the longest are shown"
    usable = ", ".join(
        f"{row.minutes} min {_format_percent(row.pessimistic)}" for row in pair.migration if row.pessimistic is not None
    )
    yield f"  migrate  start times for a whole migration within limits: {usable or 'not defined'}"
    for row in pair.sensitivity:
        if row.verdict != pair.verdict and not row.chosen:
            yield f"  if       {row.what} {row.value}: {_format_verdict(row.verdict)}"
    for flip in pair.flips:
        yield from _wrap(flip.text, "  to flip  ")


def format_provenance(pair: PairVerdict) -> str:
    """Format the origin of the windows: ``{measured, 60 probes a minute}``; empty for a document of version 1."""
    provenance = pair.provenance
    if not provenance:
        return ""
    is_since = provenance.measured_since_iso is not None and provenance.data == ["measured"]
    parts = [] if is_since else list(provenance.data) or ["not measured"]
    if provenance.probes_per_window is not None:
        parts.append(f"{provenance.probes_per_window} probes a minute")
    if provenance.measured_since_iso is not None:
        parts.append(f"measured since {provenance.measured_since_iso}")
    parts += [
        f"{minutes:,} minute{'' if minutes == 1 else 's'} {label}"
        for minutes, label in (
            (provenance.unknown_minutes, "unknown"),
            (provenance.left_out_minutes, "left out"),
            (provenance.excused_minutes, "excused"),
        )
        if minutes
    ]
    return f"{{{'; '.join([', '.join(parts), *provenance.weak_limits])}}}"


def _format_share_lines(shares: SharesSection, coverage: float) -> Iterator[str]:
    counts = shares.pessimistic.states
    known_minutes = counts.good + counts.bad + counts.unavailable
    observed = (
        "not defined"
        if shares.observed is None
        else f"{_format_percent(shares.observed)} of {known_minutes:,} known minutes"
    )
    yield (
        f"  share    {observed} within; {counts.bad:,} bad, {counts.unavailable:,} unavailable, "
        f"{counts.unknown:,} unknown; coverage {_format_percent(coverage)}"
    )
    low, high = shares.pessimistic.interval, shares.optimistic.interval
    if low and high:
        bounds = f"{_format_percent(low.low)} to {_format_percent(high.high, up=True)}"
        yield (
            f"  interval {bounds} (worst case to best case); "
            f"{low.rule.replace('_', ' ')}, {low.episodes} episodes (including unknown minutes)"
        )
    if shares.days_needed:
        yield f"  needed   {shares.days_needed:,} more days without a bad minute to reach the target"


def _format_rtt_lines(rtt: RttSection) -> Iterator[str]:
    figures = (
        ("min", rtt.min_us), ("p50", rtt.p95_p50_us), ("p95", rtt.p95_p95_us), ("p99", rtt.p95_p99_us),
        ("max", rtt.p95_max_us),
    )  # fmt: skip
    values = ", ".join(f"{name} {'lost' if us is None else _format_ms(us)}" for name, us in figures)
    yield f"  RTT      {values} (min of all probes; others: percentiles of the windows' p95)"
    yield f"  loss     {rtt.lost:,} of {rtt.sent:,} probes"
    if rtt.error_max_us is not None:
        yield f"  error    the agent hosts added at most {_format_ms(rtt.error_max_us)}"


def _format_propagation(propagation: PropagationSection) -> str:
    inflation = (
        "" if propagation.inflation is None else f"; measured {propagation.inflation:.2f} times the minimum in fibre"
    )
    return (
        f"{propagation.distance_km:.0f} km, minimum {_format_ms(propagation.floor_glass_us)} in fibre, "
        f"{_format_ms(propagation.floor_vacuum_us)} in vacuum{inflation}"
    )


def _format_sites(sites: SitesVerdict) -> str:
    by = f", decided by {' -> '.join(sites.decided_by)}" if sites.decided_by else ""
    by += f", corrected for {sites.corrected_for} pairs" if sites.corrected_for else ""
    return f"{', '.join(sites.sites)}: {_format_verdict(sites.verdict)}{by} [{sites.profile}]"


def _format_verdict(word: str) -> str:
    return str(word).replace("_", " ").upper()


def _format_percent(ratio: float, *, up: bool = False) -> str:
    return f"{format_percent(ratio, up=up)} %"


def _format_ms(us: float) -> str:
    return f"{round_down(us / 1_000, 3)} ms"


def _wrap(paragraph: str, head: str) -> list[str]:
    return textwrap.wrap(
        paragraph,
        width=_WIDTH,
        initial_indent=head,
        subsequent_indent=" " * len(head) + ("  " if not head.strip() else ""),
        break_long_words=False,
        break_on_hyphens=False,
    )


@contextmanager
def show_spinner(text: str) -> Iterator[None]:
    """Show a spinner on a terminal, nothing elsewhere."""
    with _spinner(text) if sys.stderr.isatty() else nullcontext():
        yield


@contextmanager
def _spinner(text: str) -> Iterator[None]:
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def show_progress_bar(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on a terminal. Call the yielded function after each of ``total`` verdicts."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("evaluating", total=total)
        yield lambda: bar.advance(task)
