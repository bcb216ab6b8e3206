"""Why a verdict is what it is: each reason a code, its numbers and one sentence, made in one place."""

from __future__ import annotations

from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline_verdict.compliance_share import ComplianceInterval
from leadline_verdict.decision import COVERAGE_MIN, MeasuredVerdict, VerdictRule
from leadline_verdict.document import LimitFeasibilitySection, LossSection, PropagationSection, Reason, VerdictClass
from leadline_verdict.requirements import Requirement


def format_percent(ratio: float) -> str:
    """A share as it is printed, three decimals and no more: ``99.653 %``."""
    return f"{100 * ratio:.3f} %"


def format_ms(us: float) -> str:
    """Microseconds as milliseconds: ``4.713 ms``."""
    return f"{us / 1_000:.3f} ms"


def _make_reason(code: str, text: str, **numbers: float | int | str) -> Reason:
    return Reason(code=code, numbers=numbers, text=text)


def faster_than_light(rtt_us: int, propagation: PropagationSection) -> Reason:
    return _make_reason(
        "faster_than_light",
        f"the shortest round trip, {format_ms(rtt_us)}, is below what light needs in a vacuum, {format_ms(propagation.floor_vacuum_us)}: "
        "coordinates or clock are wrong",
        rtt_min_us=rtt_us,
        floor_vacuum_us=propagation.floor_vacuum_us,
    )


def delay_above_limit(
    limit: LimitFeasibilitySection, propagation: PropagationSection, medium: str, floor_us: float
) -> Reason:
    return _make_reason(
        "floor_above_limit",
        f"light in {medium} needs {format_ms(floor_us)} for {propagation.distance_low_km:.0f} km and back, above the limit of "
        f"{format_ms(limit.limit_us)}",
        limit_id=limit.limit_id,
        limit_us=limit.limit_us,
        floor_us=floor_us,
        medium=medium,
    )


def measured_verdict(verdict_class: VerdictClass) -> Reason:
    return _make_reason(
        "measured_says", f"the windows alone say {verdict_class.value.replace('_', ' ')}", verdict=verdict_class.value
    )


def faster_than_glass(rtt_us: int, propagation: PropagationSection) -> Reason:
    return _make_reason(
        "check_coordinates_or_medium",
        f"the shortest round trip, {format_ms(rtt_us)}, is faster than straight glass fibre, {format_ms(propagation.floor_glass_us)}: "
        "check the coordinates, or the path is no glass fibre",
        rtt_min_us=rtt_us,
        floor_glass_us=propagation.floor_glass_us,
    )


def no_evaluable_limit(items: list[str]) -> Reason:
    return _make_reason("nothing_to_judge", f"no limit here is judged by measuring: {'; '.join(items)}")


def not_measured() -> Reason:
    return _make_reason("not_measured", "no window of this pair is in the store for this period")


def never_replied(sent: int) -> Reason:
    return _make_reason(
        "never_replied",
        f"none of {sent:,} probes was ever answered: a firewall or a wrong address looks the same as a dead path",
        sent=sent,
    )


def too_short(days: int) -> Reason:
    return _make_reason(
        "too_short",
        f"{days} days are fewer than the {CAMPAIGN_DAYS_PROVISIONAL} that see every hour of the week twice",
        days=days,
        days_needed=CAMPAIGN_DAYS_PROVISIONAL,
    )


def coverage_low(coverage: float) -> Reason:
    return _make_reason(
        "coverage_low",
        f"{format_percent(coverage)} of the minutes are known, {format_percent(COVERAGE_MIN)} are needed: a defect of the "
        "measurement, not of the path",
        coverage=coverage,
        coverage_needed=COVERAGE_MIN,
    )


def unknown_minutes_decisive(measured: MeasuredVerdict, minutes: int) -> Reason:
    return _make_reason(
        "unknown_decides",
        f"with the {minutes:,} unknown minutes bad the windows say {measured.class_if_bad.value}, with them good "
        f"{measured.class_if_good.value}",
        unknown=minutes,
        if_bad=measured.class_if_bad.value,
        if_good=measured.class_if_good.value,
    )


def share_below_target(interval: ComplianceInterval, rule: VerdictRule) -> Reason:
    return _make_reason(
        "share_below_target",
        f"at most {format_percent(interval.high)} of the minutes are within the limit even in the most favourable reading "
        f"(95 % confidence), below the target of {format_percent(rule.target_share)}",
        high=interval.high,
        target_share=rule.target_share,
        episodes=interval.episodes,
    )


def share_demonstrated(interval: ComplianceInterval, rule: VerdictRule) -> Reason:
    return _make_reason(
        "share_demonstrated",
        f"at least {format_percent(interval.low)} of the minutes are within the limit even in the least favourable reading "
        f"(95 % confidence), at or above the target of {format_percent(rule.target_share)}",
        low=interval.low,
        target_share=rule.target_share,
        episodes=interval.episodes,
    )


def undecided(low: float, high: float, rule: VerdictRule) -> Reason:
    return _make_reason(
        "undecided",
        f"the share within the limit lies between {format_percent(low)} and {format_percent(high)}, and the target of "
        f"{format_percent(rule.target_share)} is between them",
        low=low,
        high=high,
        target_share=rule.target_share,
    )


def campaign_short(days: int) -> Reason:
    return _make_reason(
        "campaign_short",
        f"{days} days: a final answer needs {CAMPAIGN_DAYS}, so that every hour of the week is seen four times",
        days=days,
        days_needed=CAMPAIGN_DAYS,
    )


def missing_at_random(unknown: int) -> Reason:
    return _make_reason(
        "missing_at_random",
        f"{unknown:,} unknown minutes with a logged cause were left out, as if they were like the others",
        unknown=unknown,
    )


def low_coverage_hours(count: int, needed: int) -> Reason:
    return _make_reason(
        "hours_of_week_missing",
        f"{count} of 168 hours of the week are known for less than 80 % or were seen fewer than {needed} times",
        hours=count,
        visits_needed=needed,
    )


def undeclared_limit(requirement: Requirement) -> Reason:
    why = requirement.reason or "no ping can show it, and nobody declared it"
    return _make_reason(
        "not_vouched_for", f"{requirement.limit_id} {requirement.text}: {why}", limit_id=requirement.limit_id
    )


def declared_value_unmet(requirement: Requirement) -> Reason:
    return _make_reason(
        "declared_unmet",
        f"{requirement.limit_id} asks for {requirement.text}, and {requirement.declared_value} was declared: declared, not measured",
        limit_id=requirement.limit_id,
        declared=str(requirement.declared_value),
        limit=requirement.text,
    )


def loss_above_limit(loss: LossSection) -> Reason:
    assert loss.low is not None
    return _make_reason(
        "loss_above_limit",
        f"{loss.lost:,} of {loss.sent:,} probes were lost: at least {format_percent(loss.low)}, above the limit of "
        f"{format_percent(loss.limit_ratio)}",
        limit_id=loss.limit_id,
        lost=loss.lost,
        sent=loss.sent,
        low=loss.low,
        limit_ratio=loss.limit_ratio,
    )


def loss_not_demonstrable(loss: LossSection) -> Reason:
    return _make_reason(
        "loss_not_demonstrable_yet",
        f"{loss.lost:,} of {loss.sent:,} probes were lost; to show {loss.limit_ratio:.6%} takes {loss.probes_needed:,} "
        "more without a loss",
        limit_id=loss.limit_id,
        lost=loss.lost,
        sent=loss.sent,
        limit_ratio=loss.limit_ratio,
        probes_needed=loss.probes_needed,
    )


def segments_disagree(segment_classes: list[str], overall_class: VerdictClass, *, is_last_decisive: bool) -> Reason:
    decided = "the last one decides" if is_last_decisive else "the last one is too short to decide"
    return _make_reason(
        "segments_disagree",
        f"the path changed during the period, and its parts say {', then '.join(segment_classes)}; {decided}, and the whole "
        f"period says {overall_class.value.replace('_', ' ')}",
        segments=len(segment_classes),
        whole=overall_class.value,
    )


def imported_windows(agents: list[str]) -> Reason:
    return _make_reason(
        "imported",
        f"windows of {', '.join(agents)} came from a file and not from an agent: nobody vouches for how they were "
        "taken",
        agents=len(agents),
    )


def simulated_windows() -> Reason:
    return _make_reason("simulated", "some of these windows were generated and not measured: this is no evidence")
