"""The judging half of ``leadline check``: outcomes in, document out. Pure."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leadline import __version__, evaluation, propagation
from leadline.evaluation import Criterion, WindowEvaluation, WindowState
from leadline.limits.catalogue import Catalogue, Limit, Profile
from leadline.model import WINDOW_S, ErrorBound, Failure, ProbeSettings, Site, us_ceil
from leadline.propagation import Feasibility, Plausibility, PropagationDelay
from leadline.statistics import WindowStats, compute_stats, interarrival_jitter_us
from leadline_agent.probe.results import ProbeResult
from leadline_agent.probe.window_builder import compute_error_bound
from leadline_cli.check.document import (
    CHECK_VERSION,
    CheckDocument,
    CheckErrorBound,
    CheckLimitSource,
    CheckPropagation,
    CheckVerdict,
    JitterSummary,
    ProfileCheckResult,
    RttSummary,
    TargetCheckResult,
    UncheckedLimit,
)
from leadline_cli.check.measurement import CheckMeasurement

#: Of fewer, the 95th percentile by nearest rank is the largest.
P95_PROBES_MIN = 20
#: From the worst; a profile's verdict is the worst of its limits.
_SEVERITY = {verdict: rank for rank, verdict in enumerate(CheckVerdict)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """What was asked, checked."""

    hosts: tuple[str, ...]
    profiles: tuple[str, ...]
    settings: ProbeSettings
    slots: int
    family: int | None
    sites: tuple[Site, Site] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMeasurement:
    """What the prober told of one target, in order of slot."""

    host: str
    address: str
    results: Sequence[ProbeResult]
    duplicates: int
    interval_ms: int


@dataclass(frozen=True, slots=True)
class _CheckWindow:
    stats: WindowStats
    error_bound: ErrorBound | None


def build_document(
    request: CheckRequest,
    profiles: Sequence[Profile],
    catalogue: Catalogue,
    measurement: CheckMeasurement,
    started_at: datetime,
) -> CheckDocument:
    """Judge every target of a run."""
    campaign = evaluation.compute_campaign()
    floors = propagation.compute_propagation_delay(*request.sites) if request.sites else None
    return CheckDocument(
        version=CHECK_VERSION,
        leadline=__version__,
        started_at=started_at.isoformat(timespec="seconds"),
        interval_ms=request.settings.interval_ms,
        timeout_ms=request.settings.timeout_ms,
        payload_bytes=request.settings.payload_bytes,
        dscp=request.settings.dscp,
        catalogue_sha256=catalogue.digest,
        days_to_within_provisional=campaign.days_provisional,
        days_to_within=campaign.days_within,
        targets=[
            evaluate_target(
                _select_target_measurement(measurement, host, address, request.settings.interval_ms),
                measurement.loopback_ns[ipaddress.ip_address(address).version],
                profiles,
                catalogue,
                floors,
            )
            for host, address in measurement.targets
        ],
    )


def _select_target_measurement(run: CheckMeasurement, host: str, address: str, interval_ms: int) -> TargetMeasurement:
    return TargetMeasurement(
        host=host,
        address=address,
        results=run.results.get(host, []),
        duplicates=run.duplicates.get(host, 0),
        interval_ms=interval_ms,
    )


def evaluate_target(
    measurement: TargetMeasurement,
    loopback_ns: Sequence[int],
    profiles: Sequence[Profile],
    catalogue: Catalogue,
    floors: PropagationDelay | None,
) -> TargetCheckResult:
    """Judge one target. ``loopback_ns`` are the RTTs of this host's own loopback during the same time."""
    whole = _build_window(measurement.results, loopback_ns)
    windows = [_build_window(part, loopback_ns) for part in _split_into_windows(measurement)]
    stats = whole.stats
    return TargetCheckResult(
        host=measurement.host,
        address=measurement.address,
        expected=stats.expected,
        sent=stats.sent,
        received=stats.received,
        lost=stats.lost,
        duplicates=measurement.duplicates,
        failures={str(failure): count for failure, count in sorted(stats.failures.items())},
        rtt_us=RttSummary(
            min=stats.min_us,
            mean=stats.mean_us,
            p50=stats.p50_us,
            p95=stats.p95_us,
            p99=stats.p99_us,
            max=stats.max_us,
        ),
        jitter_us=JitterSummary(
            pdv=stats.pdv_us,
            mean_step=stats.mean_step_us,
            rfc3550=interarrival_jitter_us(_extract_rtts_us(measurement.results)),
        ),
        error_bound_us=CheckErrorBound(p50=whole.error_bound.p50_us, p99=whole.error_bound.p99_us)
        if whole.error_bound
        else None,
        profiles=[
            _evaluate_profile(profile, catalogue, windows, whole, floors, _describe_main_failure(measurement.results))
            for profile in profiles
        ],
    )


def _build_window(outcomes: Sequence[ProbeResult], loopback_ns: Sequence[int]) -> _CheckWindow:
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    stamps_ns = [outcome.error_ns for outcome in outcomes if outcome.rtt_ns is not None]
    return _CheckWindow(
        compute_stats(_extract_rtts_us(outcomes), failures), compute_error_bound(list(loopback_ns), stamps_ns)
    )


def _extract_rtts_us(outcomes: Sequence[ProbeResult]) -> list[int | None]:
    return [None if outcome.rtt_ns is None else us_ceil(outcome.rtt_ns) for outcome in outcomes]


def _split_into_windows(measured: TargetMeasurement) -> list[Sequence[ProbeResult]]:
    """Whole minutes; what is left of a minute belongs to the one before, and less than a minute is one part."""
    per_window = WINDOW_S * 1_000 // measured.interval_ms
    outcomes = measured.results
    starts = [index * per_window for index in range(max(1, len(outcomes) // per_window))]
    return [outcomes[start:end] for start, end in zip(starts, [*starts[1:], len(outcomes)], strict=True)]


def _describe_main_failure(outcomes: Sequence[ProbeResult]) -> str:
    """Why a target could not be measured, in the words of its commonest failure."""
    counts: dict[tuple[Failure, int | None], int] = {}
    for outcome in outcomes:
        if outcome.failure is not None:
            key = (outcome.failure, None if outcome.failure is Failure.LATE else outcome.detail)
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return "nothing was measured"
    (failure, detail), count = max(counts.items(), key=lambda item: item[1])
    return f"{count} of {len(outcomes)} probes: {describe_failure(failure, detail)}"


def describe_failure(failure: Failure, detail: int | None) -> str:
    """A failure in words."""
    if failure is Failure.SEND_ERROR and detail is not None:
        hint = _ERRNO_HINTS.get(detail, "")
        return f"this host refused to send, {errno.errorcode.get(detail, detail)}{hint}"
    if failure is Failure.UNREACHABLE and detail is not None:
        return f"answered by an ICMP error, type {detail >> 8} code {detail & 0xFF}"
    return _FAILURE_TEXTS[failure]


_ERRNO_HINTS = {
    errno.EPERM: " (a firewall rule on this host?)",
    errno.EACCES: " (a broadcast address, or a prohibiting route?)",
    errno.ENETUNREACH: " (no route)",
    errno.EHOSTUNREACH: " (no route, or no answer from the next hop)",
    errno.EMSGSIZE: " (larger than the MTU, and fragmentation is forbidden)",
}
_FAILURE_TEXTS = {
    Failure.TIMEOUT: "no reply in time",
    Failure.LATE: "the reply came after the timeout",
    Failure.UNREACHABLE: "answered by an ICMP error",
    Failure.SEND_ERROR: "this host refused to send",
    Failure.LOCAL_DROP: "this host's receive queue overflowed",
    Failure.LOCAL_STALL: "this host stood still, or its clock was stepped",
    Failure.NOT_SENT: "not sent in time: this host was overloaded",
    Failure.RESOLVE_ERROR: "the name has no address",
}


def _evaluate_profile(
    profile: Profile,
    catalogue: Catalogue,
    windows: Sequence[_CheckWindow],
    whole: _CheckWindow,
    floors: PropagationDelay | None,
    why_not: str,
) -> ProfileCheckResult:
    judged = evaluation.plan_evaluation(catalogue.get_required_limits(profile))
    undecided = [UncheckedLimit(limit_id=item.limit_id, reason=item.reason) for item in judged.unevaluable_limits]
    if not judged.criteria:
        return ProfileCheckResult(
            id=profile.id,
            title=profile.title,
            verdict=CheckVerdict.NOT_JUDGED,
            reason=judged.reason or "the profile has no limit",
            not_judged=undecided,
            note=profile.note,
        )
    answers = [
        (_evaluate_criterion(criterion, windows, whole, floors, why_not), criterion) for criterion in judged.criteria
    ]
    (verdict, reason), criterion = min(answers, key=lambda answer: _SEVERITY[answer[0][0]])
    return ProfileCheckResult(
        id=profile.id,
        title=profile.title,
        verdict=verdict,
        reason=reason,
        limit_id=criterion.limit_id,
        limit_us=criterion.limit_us,
        comparison=str(criterion.comparison),
        measure=str(criterion.statistic),
        observed_us=evaluation.select_statistic_us(whole.stats, criterion.statistic),
        source=build_limit_source(catalogue.get_limit(criterion.limit_id)),
        physics=_build_propagation(criterion, floors),
        not_judged=undecided,
        note=_join_notes(profile.note, criterion.approximation, sent=whole.stats.sent),
    )


def _join_notes(*parts: str | None, sent: int) -> str | None:
    few = (
        f"{sent} probes are few: with less than {P95_PROBES_MIN} the p95 is the maximum"
        if 0 < sent < P95_PROBES_MIN
        else None
    )
    return "; ".join(part for part in (*parts, few) if part) or None


def build_limit_source(limit: Limit) -> CheckLimitSource:
    """The source of a limit as every answer prints it."""
    return CheckLimitSource(
        vendor=limit.vendor,
        title=limit.source.title,
        url=limit.source.url,
        read_in=str(limit.read_in),
        confidence=str(limit.confidence),
    )


def _build_propagation(criterion: Criterion, floors: PropagationDelay | None) -> CheckPropagation | None:
    if floors is None or not criterion.is_rtt_limit:
        return None
    found = propagation.check_feasibility(floors, criterion.limit_us, criterion.comparison)
    return CheckPropagation(
        reach=str(found.feasibility),
        distance_km=round(floors.distance_km, 3),
        floor_vacuum_us=floors.vacuum_ns / 1_000,
        floor_glass_us=floors.glass_ns / 1_000,
        reach_km=round(found.reachable_km, 1),
        route_factor_max=None if found.route_factor_max is None else round(found.route_factor_max, 2),
    )


def _evaluate_criterion(
    criterion: Criterion,
    windows: Sequence[_CheckWindow],
    whole: _CheckWindow,
    floors: PropagationDelay | None,
    why_not: str,
) -> tuple[CheckVerdict, str]:
    measured = _evaluate_measurement(criterion, windows, whole, why_not)
    if floors is None or not criterion.is_rtt_limit:
        return measured
    return _check_propagation(criterion, floors, whole.stats.min_us) or measured


def _check_propagation(
    criterion: Criterion, floors: PropagationDelay, min_us: int | None
) -> tuple[CheckVerdict, str] | None:
    if min_us is not None and propagation.check_plausibility(floors, min_us).plausibility is Plausibility.INVALID:
        return CheckVerdict.INVALID, (
            f"the fastest reply took {_format_ms(min_us)} and light in a vacuum needs {floors.vacuum_ns / 1e6:.3f} ms for "
            f"{floors.distance_low_km:.0f} km: the coordinates (or the clock) are wrong"
        )
    reach = propagation.check_feasibility(floors, criterion.limit_us, criterion.comparison).feasibility
    if reach is Feasibility.IMPOSSIBLE:
        return CheckVerdict.IMPOSSIBLE, (
            f"light in a vacuum needs {floors.vacuum_ns / 1e6:.2f} ms there and back over "
            f"{floors.distance_low_km:.0f} km; the limit is {criterion.comparison} {_format_ms(criterion.limit_us)}"
        )
    if reach is Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE:
        return CheckVerdict.IMPOSSIBLE_ON_GLASS_FIBRE, (
            f"a straight glass fibre of {floors.distance_low_km:.0f} km takes {floors.glass_ns / 1e6:.2f} ms there and "
            f"back; the limit is {criterion.comparison} {_format_ms(criterion.limit_us)}"
        )
    return None


def _evaluate_measurement(
    criterion: Criterion, windows: Sequence[_CheckWindow], whole: _CheckWindow, why_not: str
) -> tuple[CheckVerdict, str]:
    if whole.stats.sent and not whole.stats.received:
        return CheckVerdict.NOT_MEASURED, (
            f"never replied ({why_not}): a filter on the way looks the same as a dead path; "
            "probe a host that answers ping"
        )
    readings = [evaluation.evaluate_window(window.stats, criterion, window.error_bound) for window in windows]
    verdict = _decide_verdict(readings)
    if verdict is CheckVerdict.NOT_MEASURED:
        return verdict, f"less than 80 % of the probes could be sent ({why_not})"
    state = WindowState.UNAVAILABLE if verdict is CheckVerdict.UNAVAILABLE else WindowState.BAD
    hit = [window for window, reading in zip(windows, readings, strict=True) if reading.worst_case is state]
    return verdict, _describe_reason(verdict, criterion, hit, windows)


def _decide_verdict(readings: Sequence[WindowEvaluation]) -> CheckVerdict:
    optimistic = {reading.best_case for reading in readings}
    if optimistic == {WindowState.UNKNOWN}:
        return CheckVerdict.NOT_MEASURED
    if WindowState.BAD in optimistic:
        return CheckVerdict.BEYOND
    if WindowState.UNAVAILABLE in optimistic:
        return CheckVerdict.UNAVAILABLE
    return (
        CheckVerdict.MARGINAL
        if WindowState.BAD in {reading.worst_case for reading in readings}
        else CheckVerdict.WITHIN_SO_FAR
    )


def _describe_reason(
    verdict: CheckVerdict, criterion: Criterion, hit: Sequence[_CheckWindow], windows: Sequence[_CheckWindow]
) -> str:
    if verdict is CheckVerdict.WITHIN_SO_FAR:
        return f"{criterion.description}; {_format_worst_value(criterion, windows)}"
    share = f"in {len(hit)} of {len(windows)} windows" if len(windows) > 1 else "in the one window measured"
    if verdict is CheckVerdict.UNAVAILABLE:
        worst = max(hit, key=lambda window: window.stats.lost)
        return f"{worst.stats.lost} of {worst.stats.sent} probes lost {share}: a fifth or more is an outage"
    error = "" if verdict is CheckVerdict.BEYOND else ", within it if all of this host's own error is taken off"
    return f"{criterion.description}; {_format_worst_value(criterion, hit)} {share}{error}"


def _format_worst_value(criterion: Criterion, windows: Sequence[_CheckWindow]) -> str:
    values = [
        evaluation.select_statistic_us(window.stats, criterion.statistic) for window in windows if window.stats.sent
    ]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"the {criterion.statistic} fell on a lost probe"
    return f"measured {_format_ms(max(known))}"


def _format_ms(us: int) -> str:
    return f"{us / 1_000:.3f} ms"


def compute_exit_status(document: CheckDocument) -> int:
    """0 all within so far, 1 a limit is exceeded, 2 a question stayed open."""
    verdicts = [profile.verdict for target in document.targets for profile in target.profiles]
    if any(verdict.is_violation for verdict in verdicts):
        return 1
    return 0 if all(verdict.is_conclusive for verdict in verdicts) else 2
