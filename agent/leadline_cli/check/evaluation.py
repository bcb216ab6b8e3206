"""Evaluation of ``leadline check``: results in, document out. Pure functions."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leadline import __version__, evaluation, propagation
from leadline.evaluation import Criterion, WindowEvaluation, WindowState
from leadline.limits.catalogue import Catalogue, Limit, Profile
from leadline.limits.descriptions import list_reservations
from leadline.model import WINDOW_S, ErrorBound, Failure, ProbeSettings, Site, us_ceil
from leadline.propagation import Feasibility, Plausibility, PropagationDelay
from leadline.statistics import WindowStats, compute_stats, interarrival_jitter_us
from leadline_agent.probe.results import ProbeResult
from leadline_agent.probe.window_builder import compute_error_bound
from leadline_cli.check.document import (
    CHECK_VERSION,
    CheckDocument,
    CheckErrorBound,
    CheckLimit,
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

#: With fewer probes, the 95th percentile by nearest rank is the maximum.
P95_PROBES_MIN = 20
#: Rank of the verdicts, worst first. The verdict of a profile is the worst of its limits.
_SEVERITY = {verdict: rank for rank, verdict in enumerate(CheckVerdict)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """Validated parameters of a check."""

    hosts: tuple[str, ...]
    profiles: tuple[str, ...]
    settings: ProbeSettings
    slots: int
    family: int | None
    sites: tuple[Site, Site] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMeasurement:
    """Results of one target, in order of slot."""

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
    """Evaluate every target of a measurement."""
    campaign = evaluation.compute_campaign()
    delay = propagation.compute_propagation_delay(*request.sites) if request.sites else None
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
                delay,
            )
            for host, address in measurement.targets
        ],
    )


def _select_target_measurement(
    measurement: CheckMeasurement, host: str, address: str, interval_ms: int
) -> TargetMeasurement:
    return TargetMeasurement(
        host=host,
        address=address,
        results=measurement.results.get(host, []),
        duplicates=measurement.duplicates.get(host, 0),
        interval_ms=interval_ms,
    )


def evaluate_target(
    measurement: TargetMeasurement,
    loopback_ns: Sequence[int],
    profiles: Sequence[Profile],
    catalogue: Catalogue,
    delay: PropagationDelay | None,
) -> TargetCheckResult:
    """Evaluate one target. ``loopback_ns`` are the loopback RTTs of this host during the same time."""
    total = _build_window(measurement.results, loopback_ns)
    windows = [_build_window(part, loopback_ns) for part in _split_into_windows(measurement)]
    stats = total.stats
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
        error_bound_us=CheckErrorBound(p50=total.error_bound.p50_us, p99=total.error_bound.p99_us)
        if total.error_bound
        else None,
        profiles=[
            _evaluate_profile(profile, catalogue, windows, total, delay, _describe_main_failure(measurement.results))
            for profile in profiles
        ],
    )


def _build_window(results: Sequence[ProbeResult], loopback_ns: Sequence[int]) -> _CheckWindow:
    failures = [result.failure for result in results if result.failure is not None]
    timestamp_errors_ns = [result.error_ns for result in results if result.rtt_ns is not None]
    return _CheckWindow(
        compute_stats(_extract_rtts_us(results), failures), compute_error_bound(list(loopback_ns), timestamp_errors_ns)
    )


def _extract_rtts_us(results: Sequence[ProbeResult]) -> list[int | None]:
    return [None if result.rtt_ns is None else us_ceil(result.rtt_ns) for result in results]


def _split_into_windows(measured: TargetMeasurement) -> list[Sequence[ProbeResult]]:
    """Split the results into whole minutes. A partial last minute belongs to the one before, if there is one."""
    per_window = WINDOW_S * 1_000 // measured.interval_ms
    results = measured.results
    starts = [index * per_window for index in range(max(1, len(results) // per_window))]
    return [results[start:end] for start, end in zip(starts, [*starts[1:], len(results)], strict=True)]


def _describe_main_failure(results: Sequence[ProbeResult]) -> str:
    """Describe the most frequent failure of a target."""
    counts: dict[tuple[Failure, int | None], int] = {}
    for result in results:
        if result.failure is not None:
            key = (result.failure, None if result.failure is Failure.LATE else result.detail)
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return "nothing was measured"
    (failure, detail), count = max(counts.items(), key=lambda item: item[1])
    return f"{count} of {len(results)} probes: {describe_failure(failure, detail)}"


def describe_failure(failure: Failure, detail: int | None) -> str:
    """Describe a failure in words."""
    if failure is Failure.SEND_ERROR and detail is not None:
        hint = _ERRNO_HINTS.get(detail, "")
        return f"this host could not send: {errno.errorcode.get(detail, detail)}{hint}"
    if failure is Failure.UNREACHABLE and detail is not None:
        return f"answered by an ICMP error, type {detail >> 8} code {detail & 0xFF}"
    return _FAILURE_TEXTS[failure]


_ERRNO_HINTS = {
    errno.EPERM: " (a firewall rule on this host?)",
    errno.EACCES: " (a broadcast address or a prohibit route?)",
    errno.ENETUNREACH: " (no route)",
    errno.EHOSTUNREACH: " (no route, or no ARP/ND response from the next hop)",
    errno.EMSGSIZE: " (larger than the MTU, with fragmentation disabled)",
}
_FAILURE_TEXTS = {
    Failure.TIMEOUT: "no reply in time",
    Failure.LATE: "the reply came after the timeout",
    Failure.UNREACHABLE: "answered by an ICMP error",
    Failure.SEND_ERROR: "this host could not send",
    Failure.LOCAL_DROP: "this host's receive queue overflowed",
    Failure.LOCAL_STALL: "this host stalled, or its clock stepped",
    Failure.NOT_SENT: "not sent in time: this host was overloaded",
    Failure.RESOLVE_ERROR: "the name has no address",
}


def _evaluate_profile(
    profile: Profile,
    catalogue: Catalogue,
    windows: Sequence[_CheckWindow],
    total: _CheckWindow,
    delay: PropagationDelay | None,
    main_failure: str,
) -> ProfileCheckResult:
    plan = evaluation.plan_evaluation(catalogue.get_required_limits(profile))
    limits = [_build_limit(limit, profile) for limit in catalogue.get_required_limits(profile)]
    unchecked_limits = [UncheckedLimit(limit_id=item.limit_id, reason=item.reason) for item in plan.unevaluable_limits]
    if not plan.criteria:
        return ProfileCheckResult(
            id=profile.id,
            title=profile.title,
            verdict=CheckVerdict.NOT_JUDGED,
            reason=plan.reason or "the profile has no limit",
            not_judged=unchecked_limits,
            limits=limits,
            note=profile.note,
        )
    answers = [
        (_evaluate_criterion(criterion, windows, total, delay, main_failure), criterion) for criterion in plan.criteria
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
        observed_us=evaluation.select_statistic_us(total.stats, criterion.statistic),
        source=build_limit_source(catalogue.get_limit(criterion.limit_id)),
        physics=_build_propagation(criterion, delay),
        not_judged=unchecked_limits,
        limits=limits,
        note=_join_notes(profile.note, criterion.approximation, sent=total.stats.sent),
    )


def _join_notes(*parts: str | None, sent: int) -> str | None:
    note = f"only {sent} probes: below {P95_PROBES_MIN}, the p95 is the maximum" if 0 < sent < P95_PROBES_MIN else None
    return "; ".join(part for part in (*parts, note) if part) or None


def _build_limit(limit: Limit, profile: Profile) -> CheckLimit:
    return CheckLimit(
        limit_id=limit.id,
        status=limit.status.value,
        confidence=limit.confidence.value,
        strength=limit.strength.value,
        statistic=limit.statistic.value,
        reservations=", ".join(list_reservations(limit, (*limit.use_rules, *profile.use_rules))) or None,
    )


def build_limit_source(limit: Limit) -> CheckLimitSource:
    """Return the source of a limit for documents."""
    return CheckLimitSource(
        vendor=limit.vendor,
        title=limit.source.title,
        url=limit.source.url,
        read_in=str(limit.read_in),
        confidence=str(limit.confidence),
    )


def _build_propagation(criterion: Criterion, delay: PropagationDelay | None) -> CheckPropagation | None:
    if delay is None or not criterion.is_rtt_limit:
        return None
    feasibility = propagation.check_feasibility(delay, criterion.limit_us, criterion.comparison)
    return CheckPropagation(
        reach=str(feasibility.feasibility),
        distance_km=round(delay.distance_km, 3),
        floor_vacuum_us=delay.vacuum_ns / 1_000,
        floor_glass_us=delay.glass_ns / 1_000,
        reach_km=round(feasibility.reachable_km, 1),
        route_factor_max=None if feasibility.route_factor_max is None else round(feasibility.route_factor_max, 2),
    )


def _evaluate_criterion(
    criterion: Criterion,
    windows: Sequence[_CheckWindow],
    total: _CheckWindow,
    delay: PropagationDelay | None,
    main_failure: str,
) -> tuple[CheckVerdict, str]:
    measured = _evaluate_measurement(criterion, windows, total, main_failure)
    if delay is None or not criterion.is_rtt_limit:
        return measured
    return _check_propagation(criterion, delay, total.stats.min_us) or measured


def _check_propagation(
    criterion: Criterion, delay: PropagationDelay, min_us: int | None
) -> tuple[CheckVerdict, str] | None:
    if min_us is not None and propagation.check_plausibility(delay, min_us).plausibility is Plausibility.INVALID:
        return CheckVerdict.INVALID, (
            f"the fastest reply took {_format_ms(min_us)}, but light in vacuum needs {delay.vacuum_ns / 1e6:.3f} ms "
            f"for {delay.distance_low_km:.0f} km and back: the coordinates (or the clock) are wrong"
        )
    reach = propagation.check_feasibility(delay, criterion.limit_us, criterion.comparison).feasibility
    if reach is Feasibility.IMPOSSIBLE:
        return CheckVerdict.IMPOSSIBLE, (
            f"light in vacuum needs {delay.vacuum_ns / 1e6:.2f} ms for {delay.distance_low_km:.0f} km and back; "
            f"the limit is {criterion.comparison} {_format_ms(criterion.limit_us)}"
        )
    if reach is Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE:
        return CheckVerdict.IMPOSSIBLE_ON_GLASS_FIBRE, (
            f"light in a straight fibre of {delay.distance_low_km:.0f} km needs {delay.glass_ns / 1e6:.2f} ms there "
            f"and back; the limit is {criterion.comparison} {_format_ms(criterion.limit_us)}"
        )
    return None


def _evaluate_measurement(
    criterion: Criterion, windows: Sequence[_CheckWindow], total: _CheckWindow, main_failure: str
) -> tuple[CheckVerdict, str]:
    if total.stats.sent and not total.stats.received:
        return CheckVerdict.NOT_MEASURED, (
            f"no reply ({main_failure}): the path is down or a filter drops the probes; probe a host that answers ping"
        )
    evaluations = [evaluation.evaluate_window(window.stats, criterion, window.error_bound) for window in windows]
    verdict = _decide_verdict(evaluations)
    if verdict is CheckVerdict.NOT_MEASURED:
        return verdict, f"less than 80 % of the probes were sent ({main_failure})"
    state = WindowState.UNAVAILABLE if verdict is CheckVerdict.UNAVAILABLE else WindowState.BAD
    affected_windows = [
        window for window, reading in zip(windows, evaluations, strict=True) if reading.worst_case is state
    ]
    return verdict, _describe_reason(verdict, criterion, affected_windows, windows)


def _decide_verdict(evaluations: Sequence[WindowEvaluation]) -> CheckVerdict:
    best_case_states = {reading.best_case for reading in evaluations}
    if best_case_states == {WindowState.UNKNOWN}:
        return CheckVerdict.NOT_MEASURED
    if WindowState.BAD in best_case_states:
        return CheckVerdict.BEYOND
    if WindowState.UNAVAILABLE in best_case_states:
        return CheckVerdict.UNAVAILABLE
    return (
        CheckVerdict.MARGINAL
        if WindowState.BAD in {reading.worst_case for reading in evaluations}
        else CheckVerdict.WITHIN_SO_FAR
    )


def _describe_reason(
    verdict: CheckVerdict,
    criterion: Criterion,
    affected_windows: Sequence[_CheckWindow],
    windows: Sequence[_CheckWindow],
) -> str:
    if verdict is CheckVerdict.WITHIN_SO_FAR:
        return f"{criterion.description}; {_format_worst_value(criterion, windows)}"
    share = f"in {len(affected_windows)} of {len(windows)} windows" if len(windows) > 1 else "in the only window"
    if verdict is CheckVerdict.UNAVAILABLE:
        worst = max(affected_windows, key=lambda window: window.stats.lost)
        return f"{worst.stats.lost} of {worst.stats.sent} probes lost {share}: a loss of 20 % or more is an outage"
    error = "" if verdict is CheckVerdict.BEYOND else "; within the limit minus the error of this host"
    return f"{criterion.description}; {_format_worst_value(criterion, affected_windows)} {share}{error}"


def _format_worst_value(criterion: Criterion, windows: Sequence[_CheckWindow]) -> str:
    values = [
        evaluation.select_statistic_us(window.stats, criterion.statistic) for window in windows if window.stats.sent
    ]
    received_values = [value for value in values if value is not None]
    if len(received_values) < len(values):
        return f"the {criterion.statistic} is a lost probe"
    return f"measured {_format_ms(max(received_values))}"


def _format_ms(us: int) -> str:
    return f"{us / 1_000:.3f} ms"


def compute_exit_status(document: CheckDocument) -> int:
    """Return 0 if all are within so far, 1 if a limit is exceeded, 2 without a conclusion."""
    verdicts = [profile.verdict for target in document.targets for profile in target.profiles]
    if any(verdict.is_violation for verdict in verdicts):
        return 1
    return 0 if all(verdict.is_conclusive for verdict in verdicts) else 2
