"""The judging half of ``leadline check``: outcomes in, document out. Pure."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from leadline import __version__, evaluation, propagation
from leadline.evaluation import Criterion, State, WindowJudgement
from leadline.limits.catalogue import Catalogue, Limit, Profile
from leadline.model import WINDOW_S, ErrorBound, Failure, ProbeSettings, Site, us_ceil
from leadline.propagation import Floors, Plausibility, Reach
from leadline.statistics import WindowStats, interarrival_jitter_us, statistics
from leadline_agent.probe.results import Outcome
from leadline_agent.probe.window_builder import error_bound
from leadline_cli.check.document import (
    CHECK_VERSION,
    CheckDocument,
    ErrorUs,
    JitterUs,
    PhysicsAnswer,
    ProfileAnswer,
    RttUs,
    SourceAnswer,
    TargetAnswer,
    Undecided,
    Verdict,
)
from leadline_cli.check.measurement import Run

#: Of fewer, the 95th percentile by nearest rank is the largest.
FEW_PROBES = 20
#: From the worst; a profile's verdict is the worst of its limits.
_SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What was asked, checked."""

    hosts: tuple[str, ...]
    profiles: tuple[str, ...]
    settings: ProbeSettings
    slots: int
    family: int | None
    sites: tuple[Site, Site] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the prober told of one target, in order of slot."""

    host: str
    address: str
    outcomes: Sequence[Outcome]
    duplicates: int
    interval_ms: int


@dataclass(frozen=True, slots=True)
class _Window:
    stats: WindowStats
    error: ErrorBound | None


def document(
    question: Question, profiles: Sequence[Profile], catalogue: Catalogue, run: Run, started_at: datetime
) -> CheckDocument:
    """Judge every target of a run."""
    campaign = evaluation.campaign()
    floors = propagation.floors(*question.sites) if question.sites else None
    return CheckDocument(
        version=CHECK_VERSION,
        leadline=__version__,
        started_at=started_at.isoformat(timespec="seconds"),
        interval_ms=question.settings.interval_ms,
        timeout_ms=question.settings.timeout_ms,
        payload_bytes=question.settings.payload_bytes,
        dscp=question.settings.dscp,
        catalogue_sha256=catalogue.digest,
        days_to_within_provisional=campaign.days_provisional,
        days_to_within=campaign.days_within,
        targets=[
            target_answer(
                _measured(run, host, address, question.settings.interval_ms),
                run.loopback_ns[ipaddress.ip_address(address).version],
                profiles,
                catalogue,
                floors,
            )
            for host, address in run.targets
        ],
    )


def _measured(run: Run, host: str, address: str, interval_ms: int) -> Measured:
    return Measured(
        host=host,
        address=address,
        outcomes=run.outcomes.get(host, []),
        duplicates=run.duplicates.get(host, 0),
        interval_ms=interval_ms,
    )


def target_answer(
    measured: Measured,
    loopback_ns: Sequence[int],
    profiles: Sequence[Profile],
    catalogue: Catalogue,
    floors: Floors | None,
) -> TargetAnswer:
    """Judge one target. ``loopback_ns`` are the RTTs of this host's own loopback during the same time."""
    whole = _window(measured.outcomes, loopback_ns)
    windows = [_window(part, loopback_ns) for part in _parts(measured)]
    stats = whole.stats
    return TargetAnswer(
        host=measured.host,
        address=measured.address,
        expected=stats.expected,
        sent=stats.sent,
        received=stats.received,
        lost=stats.lost,
        duplicates=measured.duplicates,
        failures={str(failure): count for failure, count in sorted(stats.failures.items())},
        rtt_us=RttUs(
            min=stats.min_us,
            mean=stats.mean_us,
            p50=stats.p50_us,
            p95=stats.p95_us,
            p99=stats.p99_us,
            max=stats.max_us,
        ),
        jitter_us=JitterUs(
            pdv=stats.pdv_us,
            mean_step=stats.mean_step_us,
            rfc3550=interarrival_jitter_us(_rtts_us(measured.outcomes)),
        ),
        error_bound_us=ErrorUs(p50=whole.error.p50_us, p99=whole.error.p99_us) if whole.error else None,
        profiles=[
            _profile_answer(profile, catalogue, windows, whole, floors, _why_not(measured.outcomes))
            for profile in profiles
        ],
    )


def _window(outcomes: Sequence[Outcome], loopback_ns: Sequence[int]) -> _Window:
    failures = [outcome.failure for outcome in outcomes if outcome.failure is not None]
    stamps_ns = [outcome.error_ns for outcome in outcomes if outcome.rtt_ns is not None]
    return _Window(statistics(_rtts_us(outcomes), failures), error_bound(list(loopback_ns), stamps_ns))


def _rtts_us(outcomes: Sequence[Outcome]) -> list[int | None]:
    return [None if outcome.rtt_ns is None else us_ceil(outcome.rtt_ns) for outcome in outcomes]


def _parts(measured: Measured) -> list[Sequence[Outcome]]:
    """Whole minutes; what is left of a minute belongs to the one before, and less than a minute is one part."""
    per_window = WINDOW_S * 1_000 // measured.interval_ms
    outcomes = measured.outcomes
    starts = [index * per_window for index in range(max(1, len(outcomes) // per_window))]
    return [outcomes[start:end] for start, end in zip(starts, [*starts[1:], len(outcomes)], strict=True)]


def _why_not(outcomes: Sequence[Outcome]) -> str:
    """Why a target could not be measured, in the words of its commonest failure."""
    counts: dict[tuple[Failure, int | None], int] = {}
    for outcome in outcomes:
        if outcome.failure is not None:
            key = (outcome.failure, None if outcome.failure is Failure.LATE else outcome.detail)
            counts[key] = counts.get(key, 0) + 1
    if not counts:
        return "nothing was measured"
    (failure, detail), count = max(counts.items(), key=lambda item: item[1])
    return f"{count} of {len(outcomes)} probes: {failure_text(failure, detail)}"


def failure_text(failure: Failure, detail: int | None) -> str:
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


def _profile_answer(
    profile: Profile,
    catalogue: Catalogue,
    windows: Sequence[_Window],
    whole: _Window,
    floors: Floors | None,
    why_not: str,
) -> ProfileAnswer:
    judged = evaluation.judged(catalogue.limits_of(profile))
    undecided = [Undecided(limit_id=item.limit_id, reason=item.reason) for item in judged.not_judged]
    if not judged.criteria:
        return ProfileAnswer(
            id=profile.id,
            title=profile.title,
            verdict=Verdict.NOT_JUDGED,
            reason=judged.reason or "the profile has no limit",
            not_judged=undecided,
            note=profile.note,
        )
    answers = [(_answer(criterion, windows, whole, floors, why_not), criterion) for criterion in judged.criteria]
    (verdict, reason), criterion = min(answers, key=lambda answer: _SEVERITY[answer[0][0]])
    return ProfileAnswer(
        id=profile.id,
        title=profile.title,
        verdict=verdict,
        reason=reason,
        limit_id=criterion.limit_id,
        limit_us=criterion.limit_us,
        comparison=str(criterion.comparison),
        measure=str(criterion.measure),
        observed_us=evaluation.observed_us(whole.stats, criterion.measure),
        source=source_answer(catalogue.limit(criterion.limit_id)),
        physics=_physics_answer(criterion, floors),
        not_judged=undecided,
        note=_note(profile.note, criterion.approximation, sent=whole.stats.sent),
    )


def _note(*parts: str | None, sent: int) -> str | None:
    few = (
        f"{sent} probes are few: with less than {FEW_PROBES} the p95 is the maximum" if 0 < sent < FEW_PROBES else None
    )
    return "; ".join(part for part in (*parts, few) if part) or None


def source_answer(limit: Limit) -> SourceAnswer:
    """The source of a limit as every answer prints it."""
    return SourceAnswer(
        vendor=limit.vendor,
        title=limit.source.title,
        url=limit.source.url,
        read_in=str(limit.read_in),
        confidence=str(limit.confidence),
    )


def _physics_answer(criterion: Criterion, floors: Floors | None) -> PhysicsAnswer | None:
    if floors is None or not criterion.bounds_rtt:
        return None
    found = propagation.physics(floors, criterion.limit_us, criterion.comparison)
    return PhysicsAnswer(
        reach=str(found.reach),
        distance_km=round(floors.distance_km, 3),
        floor_vacuum_us=floors.vacuum_ns / 1_000,
        floor_glass_us=floors.glass_ns / 1_000,
        reach_km=round(found.reach_km, 1),
        route_factor_max=None if found.route_factor_max is None else round(found.route_factor_max, 2),
    )


def _answer(
    criterion: Criterion, windows: Sequence[_Window], whole: _Window, floors: Floors | None, why_not: str
) -> tuple[Verdict, str]:
    measured = _measured_answer(criterion, windows, whole, why_not)
    if floors is None or not criterion.bounds_rtt:
        return measured
    return _physical_answer(criterion, floors, whole.stats.min_us) or measured


def _physical_answer(criterion: Criterion, floors: Floors, min_us: int | None) -> tuple[Verdict, str] | None:
    if min_us is not None and propagation.measured_minimum(floors, min_us).plausibility is Plausibility.INVALID:
        return Verdict.INVALID, (
            f"the fastest reply took {_ms(min_us)} and light in a vacuum needs {floors.vacuum_ns / 1e6:.3f} ms for "
            f"{floors.distance_low_km:.0f} km: the coordinates (or the clock) are wrong"
        )
    reach = propagation.physics(floors, criterion.limit_us, criterion.comparison).reach
    if reach is Reach.IMPOSSIBLE:
        return Verdict.IMPOSSIBLE, (
            f"light in a vacuum needs {floors.vacuum_ns / 1e6:.2f} ms there and back over "
            f"{floors.distance_low_km:.0f} km; the limit is {criterion.comparison} {_ms(criterion.limit_us)}"
        )
    if reach is Reach.IMPOSSIBLE_ON_GLASS_FIBRE:
        return Verdict.IMPOSSIBLE_ON_GLASS_FIBRE, (
            f"a straight glass fibre of {floors.distance_low_km:.0f} km takes {floors.glass_ns / 1e6:.2f} ms there and "
            f"back; the limit is {criterion.comparison} {_ms(criterion.limit_us)}"
        )
    return None


def _measured_answer(
    criterion: Criterion, windows: Sequence[_Window], whole: _Window, why_not: str
) -> tuple[Verdict, str]:
    if whole.stats.sent and not whole.stats.received:
        return Verdict.NOT_MEASURED, (
            f"never replied ({why_not}): a filter on the way looks the same as a dead path; "
            "probe a host that answers ping"
        )
    readings = [evaluation.window_judgement(window.stats, criterion, window.error) for window in windows]
    verdict = _verdict(readings)
    if verdict is Verdict.NOT_MEASURED:
        return verdict, f"less than 80 % of the probes could be sent ({why_not})"
    state = State.UNAVAILABLE if verdict is Verdict.UNAVAILABLE else State.BAD
    hit = [window for window, reading in zip(windows, readings, strict=True) if reading.pessimistic is state]
    return verdict, _reason(verdict, criterion, hit, windows)


def _verdict(readings: Sequence[WindowJudgement]) -> Verdict:
    optimistic = {reading.optimistic for reading in readings}
    if optimistic == {State.UNKNOWN}:
        return Verdict.NOT_MEASURED
    if State.BAD in optimistic:
        return Verdict.BEYOND
    if State.UNAVAILABLE in optimistic:
        return Verdict.UNAVAILABLE
    return Verdict.MARGINAL if State.BAD in {reading.pessimistic for reading in readings} else Verdict.WITHIN_SO_FAR


def _reason(verdict: Verdict, criterion: Criterion, hit: Sequence[_Window], windows: Sequence[_Window]) -> str:
    if verdict is Verdict.WITHIN_SO_FAR:
        return f"{criterion.rule}; {_worst_text(criterion, windows)}"
    share = f"in {len(hit)} of {len(windows)} windows" if len(windows) > 1 else "in the one window measured"
    if verdict is Verdict.UNAVAILABLE:
        worst = max(hit, key=lambda window: window.stats.lost)
        return f"{worst.stats.lost} of {worst.stats.sent} probes lost {share}: a fifth or more is an outage"
    error = "" if verdict is Verdict.BEYOND else ", within it if all of this host's own error is taken off"
    return f"{criterion.rule}; {_worst_text(criterion, hit)} {share}{error}"


def _worst_text(criterion: Criterion, windows: Sequence[_Window]) -> str:
    values = [evaluation.observed_us(window.stats, criterion.measure) for window in windows if window.stats.sent]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"the {criterion.measure} fell on a lost probe"
    return f"measured {_ms(max(known))}"


def _ms(us: int) -> str:
    return f"{us / 1_000:.3f} ms"


def exit_status(document: CheckDocument) -> int:
    """0 all within so far, 1 a limit is exceeded, 2 a question stayed open."""
    verdicts = [profile.verdict for target in document.targets for profile in target.profiles]
    if any(verdict.is_bad for verdict in verdicts):
        return 1
    return 0 if all(verdict.is_answer for verdict in verdicts) else 2
