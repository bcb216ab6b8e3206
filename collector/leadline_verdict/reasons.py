"""Reasons of a verdict: each has a code, its numbers and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from leadline import rounding
from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL, PROBES_MIN, UNSEEN_OUTAGE_WINDOWS
from leadline.limits.catalogue import Limit, NonNumericStatement, SourceDocument, UseRule
from leadline.mesh.model import DeclaredOutages
from leadline_verdict.decision import COVERAGE_MIN, MeasuredVerdict, VerdictRule
from leadline_verdict.document import LimitFeasibilitySection, LossSection, PropagationSection, Reason, VerdictClass
from leadline_verdict.requirements import ConflictingFigures, Requirement
from leadline_verdict.share_interval import ShareInterval


def format_percent(ratio: float, *, up: bool = False, apart_from: float | None = None) -> str:
    """Format a share or a bound as a percentage (see ``leadline.rounding``): ``99.653 %``."""
    return f"{rounding.format_percent(ratio, up=up, apart_from=apart_from)} %"


def format_target(ratio: float) -> str:
    """Format a given ratio without rounding: ``99.500 %``."""
    return f"{rounding.format_nominal_percent(ratio, 3)} %"


def format_ms(us: float) -> str:
    """Format microseconds as milliseconds, rounded down because a fraction is a minimum: ``4.713 ms``."""
    return f"{rounding.round_down(us / 1_000, 3)} ms"


def format_km(km: float) -> str:
    """Format a distance, rounded down because it is a minimum or must not be exceeded: ``421 km``."""
    return f"{rounding.round_down(km, 0)} km"


def count_of(number: int, noun: str) -> str:
    """Format a count with its noun: ``1 minute``, ``1,440 minutes``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def make_reason(code: str, text: str, **numbers: float | int | str) -> Reason:
    """Build a reason: code, sentence, and the numbers of the sentence."""
    return Reason(code=code, numbers=numbers, text=text)


def faster_than_light(rtt_us: int, propagation: PropagationSection) -> Reason:
    return make_reason(
        "faster_than_light",
        f"the minimum RTT, {format_ms(rtt_us)}, is below the time of light in a vacuum, "
        f"{format_ms(propagation.floor_vacuum_us)}: coordinates or clock are wrong",
        rtt_min_us=rtt_us,
        floor_vacuum_us=propagation.floor_vacuum_us,
    )


def delay_above_limit(
    limit: LimitFeasibilitySection, propagation: PropagationSection, medium: str, floor_us: float
) -> Reason:
    distance = format_km(propagation.distance_low_km)
    return make_reason(
        "floor_above_limit",
        f"light in {medium} needs {format_ms(floor_us)} for {distance} and back, more than "
        f"the limit of {format_ms(limit.limit_us)}",
        limit_id=limit.limit_id,
        limit_us=limit.limit_us,
        floor_us=floor_us,
        medium=medium,
    )


def measured_verdict(verdict_class: VerdictClass) -> Reason:
    return make_reason(
        "measured_says",
        f"the windows alone give: {verdict_class.value.replace('_', ' ')}",
        verdict=verdict_class.value,
    )


def faster_than_glass(rtt_us: int, propagation: PropagationSection) -> Reason:
    return make_reason(
        "check_coordinates_or_medium",
        f"the minimum RTT, {format_ms(rtt_us)}, is shorter than over straight glass fibre, "
        f"{format_ms(propagation.floor_glass_us)}: check the coordinates and the medium of the path",
        rtt_min_us=rtt_us,
        floor_glass_us=propagation.floor_glass_us,
    )


def no_evaluable_limit(items: list[str]) -> Reason:
    return make_reason("nothing_to_judge", f"no limit can be evaluated by measurement: {'; '.join(items)}")


def not_measured() -> Reason:
    return make_reason("not_measured", "no window of this pair is stored for this period")


def never_replied(sent: int) -> Reason:
    return make_reason(
        "never_replied",
        f"no reply to any of {sent:,} probes: a firewall or a wrong address cannot be distinguished from a dead path",
        sent=sent,
    )


def too_short(days: int) -> Reason:
    return make_reason(
        "too_short",
        f"{days} days are too few: {CAMPAIGN_DAYS_PROVISIONAL} days are needed to measure every hour of the week twice",
        days=days,
        days_needed=CAMPAIGN_DAYS_PROVISIONAL,
    )


def coverage_low(coverage: float) -> Reason:
    return make_reason(
        "coverage_low",
        f"{format_percent(coverage)} of the minutes are known, {format_target(COVERAGE_MIN)} are needed: this is a "
        "defect of the measurement, not of the path",
        coverage=coverage,
        coverage_needed=COVERAGE_MIN,
    )


def unknown_minutes_decisive(measured: MeasuredVerdict, minutes: int) -> Reason:
    return make_reason(
        "unknown_decides",
        f"the {count_of(minutes, 'unknown minute')} decide{'s' if minutes == 1 else ''}: the result is "
        f"{_format_class(measured.class_if_bad)} if they are bad and {_format_class(measured.class_if_good)} if they "
        "are good",
        unknown=minutes,
        if_bad=measured.class_if_bad.value,
        if_good=measured.class_if_good.value,
    )


def share_below_target(interval: ShareInterval, rule: VerdictRule) -> Reason:
    high = format_percent(interval.high, up=True, apart_from=rule.target_share)
    return make_reason(
        "share_below_target",
        f"at most {high} of the minutes are within the limit even in the best case "
        f"(95 % confidence), below the target of {format_target(rule.target_share)}",
        high=interval.high,
        target_share=rule.target_share,
        episodes=interval.episodes,
    )


def share_demonstrated(interval: ShareInterval, rule: VerdictRule) -> Reason:
    return make_reason(
        "share_demonstrated",
        f"at least {format_percent(interval.low)} of the minutes are within the limit even in the worst case "
        f"(95 % confidence), at or above the target of {format_target(rule.target_share)}",
        low=interval.low,
        target_share=rule.target_share,
        episodes=interval.episodes,
    )


def undecided(low: float, high: float, rule: VerdictRule) -> Reason:
    return make_reason(
        "undecided",
        f"the share within the limit is between {format_percent(low)} and {format_percent(high, up=True)}; the target "
        f"of {format_target(rule.target_share)} is in this range",
        low=low,
        high=high,
        target_share=rule.target_share,
    )


def campaign_short(days: int) -> Reason:
    return make_reason(
        "campaign_short",
        f"{days} days are enough for a provisional result only: {CAMPAIGN_DAYS} days are needed to measure every hour "
        "of the week four times",
        days=days,
        days_needed=CAMPAIGN_DAYS,
    )


def missing_at_random(unknown: int) -> Reason:
    return make_reason(
        "missing_at_random",
        f"{unknown:,} unknown minutes with a logged cause are excluded, assuming that they are like the others",
        unknown=unknown,
    )


def low_coverage_hours(count: int, needed: int) -> Reason:
    return make_reason(
        "hours_of_week_missing",
        f"{count} of 168 hours of the week have a coverage below 80 % or fewer than {needed} visits",
        hours=count,
        visits_needed=needed,
    )


def undeclared_limit(requirement: Requirement) -> Reason:
    explanation = requirement.reason or "pings cannot test it, and no value is declared"
    return make_reason(
        "not_vouched_for",
        f"{requirement.limit_id} {requirement.text}: {explanation}",
        limit_id=requirement.limit_id,
    )


def declared_value_unmet(requirement: Requirement) -> Reason:
    return make_reason(
        "declared_unmet",
        f"{requirement.limit_id} requires {requirement.text}; the declared value is {requirement.declared_value} "
        "(declared, not measured)",
        limit_id=requirement.limit_id,
        declared=str(requirement.declared_value),
        limit=requirement.text,
    )


def loss_above_limit(loss: LossSection) -> Reason:
    assert loss.low is not None
    low = format_percent(loss.low, apart_from=loss.limit_ratio)
    return make_reason(
        "loss_above_limit",
        f"{loss.lost:,} of {loss.sent:,} probes were lost: at least {low}, above the limit of "
        f"{format_target(loss.limit_ratio)}",
        limit_id=loss.limit_id,
        lost=loss.lost,
        sent=loss.sent,
        low=loss.low,
        limit_ratio=loss.limit_ratio,
    )


def loss_not_demonstrable(loss: LossSection) -> Reason:
    return make_reason(
        "loss_not_demonstrable_yet",
        f"{loss.lost:,} of {loss.sent:,} probes were lost; demonstrating "
        f"{rounding.format_nominal_percent(loss.limit_ratio, 6)}% takes "
        f"{loss.probes_needed:,} more probes without loss",
        limit_id=loss.limit_id,
        lost=loss.lost,
        sent=loss.sent,
        limit_ratio=loss.limit_ratio,
        probes_needed=loss.probes_needed,
    )


def segments_disagree(segment_classes: list[str], overall_class: VerdictClass, *, is_last_decisive: bool) -> Reason:
    decision = "the last one decides" if is_last_decisive else "the last one is too short to decide"
    return make_reason(
        "segments_disagree",
        f"the path changed during the period; the results of its segments are {', then '.join(segment_classes)}; "
        f"{decision}; the result of the whole period is {overall_class.value.replace('_', ' ')}",
        segments=len(segment_classes),
        whole=overall_class.value,
    )


def imported_windows(agents: list[str]) -> Reason:
    return make_reason(
        "imported",
        f"windows of {', '.join(agents)} were imported from a file, not sent by an agent: how they were measured is "
        "unverified",
        agents=len(agents),
    )


def simulated_windows() -> Reason:
    return make_reason("simulated", "some of these windows are simulated, not measured: this is not evidence")


def too_young(days: int) -> Reason:
    measured = f"only {days} whole day{' is' if days == 1 else 's are'} measured" if days else "no UTC day is whole yet"
    return make_reason(
        "too_short",
        f"{measured}: {CAMPAIGN_DAYS_PROVISIONAL} days are needed to measure every hour of the week twice",
        days=days,
        days_needed=CAMPAIGN_DAYS_PROVISIONAL,
    )


def beyond_provisional(days: int) -> Reason:
    return make_reason(
        "beyond_after_few_days",
        f"{days} whole day{' is' if days == 1 else 's are'} judged: the result is provisional until "
        f"{CAMPAIGN_DAYS_PROVISIONAL} days are measured, because other days of the week may differ",
        days=days,
        days_needed=CAMPAIGN_DAYS_PROVISIONAL,
    )


def last_segment_withdraws(verdict_class: VerdictClass, segment_class: VerdictClass) -> Reason:
    return make_reason(
        "last_segment",
        f"the path changed during the period, and the minutes since the last change are "
        f"{_format_class(segment_class)} by themselves; the whole period is {_format_class(verdict_class)}",
        whole=verdict_class.value,
        last=segment_class.value,
    )


def _format_class(verdict_class: VerdictClass) -> str:
    return _CLASS_NAMES.get(verdict_class) or verdict_class.value.replace("_", " ")


_CLASS_NAMES = {
    VerdictClass.BEYOND_PROVISIONAL: "beyond, provisionally",
    VerdictClass.WITHIN_PROVISIONAL: "within, provisionally",
}


def tipping_point(minutes: int | None, missed_ratio: float, *, besides_declared: bool) -> Reason:
    missed = f"{missed_ratio:.0%}".replace("%", " %")
    besides = ", besides the declared ones," if besides_declared else ""
    return make_reason(
        "tipping_point",
        f"this holds unless an outage of more than {minutes or 0:,} minutes{besides} was missed; an outage of 12 h "
        f"once a quarter would be missed in {missed} of such periods",
        minutes=minutes or 0,
        missed_ratio=missed_ratio,
    )


def share_demonstrated_low(low: float, rule: VerdictRule, *, with_declared: bool) -> Reason:
    less = ", less the declared outages" if with_declared else ""
    return make_reason(
        "share_demonstrated",
        f"at least {format_percent(low)} of the minutes are within the limit even in the worst case "
        f"(95 % confidence{less}), at or above the target of {format_target(rule.target_share)}",
        low=low,
        target_share=rule.target_share,
    )


def share_when_up(low: float) -> Reason:
    return make_reason(
        "share_when_up",
        f"of the minutes in which the path was up, at least {format_percent(low)} were within the limits "
        "(95 % confidence)",
        low=low,
    )


def short_unseen_outage(minutes: int) -> Reason:
    return make_reason(
        "short_unseen_outage",
        f"the request assumes an unseen outage of {minutes:,} min at most; within needs {UNSEEN_OUTAGE_WINDOWS} min or "
        "declared outages",
        minutes=minutes,
        minutes_needed=UNSEEN_OUTAGE_WINDOWS,
    )


def observed_outages(episodes: int, longest_minutes: int) -> Reason:
    text = (
        "the path was up in every known minute"
        if not episodes
        else f"the path was down {episodes:,} time{'' if episodes == 1 else 's'}, the longest for "
        f"{longest_minutes:,} min"
    )
    return make_reason("observed_outages", text, episodes=episodes, longest=longest_minutes)


def declaration_contradicted(outages: DeclaredOutages, longest_s: int) -> Reason:
    return make_reason(
        "declaration_contradicted",
        f"the declared longest outage is {outages.longest_outage_s // 60:,} min, but the period has one of "
        f"{longest_s // 60:,} min: the declaration raises no bound",
        declared_s=outages.longest_outage_s,
        observed_s=longest_s,
    )


def declared_above_target(outages: DeclaredOutages, rule: VerdictRule) -> Reason:
    return make_reason(
        "declared_above_target",
        f"the declared outages alone take up to {format_percent(outages.unavailable_ratio, up=True)} of the time, more "
        f"than the {format_target(1 - rule.target_share)} that the target leaves",
        unavailable_ratio=outages.unavailable_ratio,
        target_share=rule.target_share,
    )


def declared_outages(outages: DeclaredOutages, *, is_before_period: bool) -> Reason:
    when = "" if is_before_period else ", after the first window of the period"
    return make_reason(
        "declared_outages",
        f"declared on {outages.declared_on}{when}, not measured: {outages.outages_per_year:g} outages a year, the "
        f"longest of {outages.longest_outage_s // 60:,} min",
        outages_per_year=outages.outages_per_year,
        longest_outage_s=outages.longest_outage_s,
        declared_on=str(outages.declared_on),
    )


def few_probes(probes: int, *, is_maximum: bool) -> Reason:
    statistic = f"p95 is the maximum of {probes}" if is_maximum else f"p95 of {probes} is uncertain"
    return make_reason(
        "few_probes",
        f"windows have {probes} probe{'' if probes == 1 else 's'}, {PROBES_MIN} are needed: {statistic}",
        probes=probes,
        probes_needed=PROBES_MIN,
    )


def excused_minutes(minutes: int) -> Reason:
    return make_reason(
        "excused",
        f"{count_of(minutes, 'outage minute')} count{'s' if minutes == 1 else ''} as good in the best case, because "
        "the agents of the destination were silent too: a reboot of the destination may explain them",
        minutes=minutes,
    )


def loss_above_limit_by_day(loss: LossSection) -> Reason:
    assert loss.low is not None
    low = format_percent(loss.low, apart_from=loss.limit_ratio)
    return make_reason(
        "loss_above_limit",
        f"{_describe_loss(loss)}: at least {low} in the long run, above the limit of {format_target(loss.limit_ratio)}",
        limit_id=loss.limit_id,
        lost=loss.lost,
        sent=loss.sent,
        low=loss.low,
        limit_ratio=loss.limit_ratio,
    )


def loss_not_demonstrable_by_day(loss: LossSection) -> Reason:
    assert loss.high is not None
    high = format_percent(loss.high, up=True, apart_from=loss.limit_ratio)
    return make_reason(
        "loss_not_demonstrable_yet",
        f"{_describe_loss(loss)}: at most {high} in the long run; the limit of {format_target(loss.limit_ratio)} takes "
        f"at least {loss.probes_needed:,} more probes without loss",
        limit_id=loss.limit_id,
        lost=loss.lost,
        sent=loss.sent,
        high=loss.high,
        limit_ratio=loss.limit_ratio,
        probes_needed=loss.probes_needed,
    )


def _describe_loss(loss: LossSection) -> str:
    if not loss.lost:
        return f"none of {loss.sent:,} probes was lost"
    days = f"{loss.days_with_loss} day{'' if loss.days_with_loss == 1 else 's'}"
    steady = f"{loss.steady_lost:,}" if loss.steady_lost else "none"
    return f"{loss.lost:,} of {loss.sent:,} probes were lost on {days}, {steady} of them outside outage minutes"


def distance_above_limit(requirement: Requirement, propagation: PropagationSection) -> Reason:
    return make_reason(
        "distance_above_limit",
        f"the sites are at least {format_km(propagation.distance_low_km)} apart in a straight line; "
        f"{requirement.limit_id} allows {requirement.text}",
        limit_id=requirement.limit_id,
        distance_low_km=propagation.distance_low_km,
    )


def weak_limits(texts: list[str]) -> Reason:
    return make_reason("weak_limits", f"limits of this verdict with reservations: {'; '.join(texts)}")


def no_verdict_alone(limit_ids: list[str]) -> Reason:
    return make_reason(
        "not_alone",
        f"no verdict on {_join(limit_ids)} alone: the source is too weak, so another limit has to agree; add one, for "
        "example your own with --limit",
    )


def operator_figure_missing(requirement: Requirement) -> Reason:
    limit_id = requirement.limit_id
    return make_reason(
        "operator_figure_missing",
        f"{limit_id}: the vendor publishes the figure per platform or site, so {requirement.text} shows nothing; give "
        f"the figure of yours with --override {limit_id}=NUMBER",
        limit_id=limit_id,
    )


def never_acquits(limit_ids: list[str]) -> Reason:
    return make_reason(
        "never_acquits",
        f"{_join(limit_ids)} may condemn, never acquit: values below show nothing, and no other evaluated limit may "
        "acquit",
    )


def advised_against(statement: NonNumericStatement) -> Reason:
    return make_reason(
        "advised_against",
        f"{statement.vendor} advises against this design: {statement.what} ({_format_source(statement.source)})",
        statement_id=statement.id,
    )


def advised_against_limit(requirement: Requirement, limit: Limit) -> Reason:
    return make_reason(
        "advised_against",
        f"{limit.vendor} advises against this design ({requirement.limit_id}; {_format_source(limit.source)})",
        limit_id=requirement.limit_id,
    )


def _format_source(source: SourceDocument) -> str:
    return f"{source.title}, {source.url}" if source.url else source.title


def one_location_only(requirement: Requirement) -> Reason:
    return make_reason(
        "one_location_only",
        f"{requirement.limit_id}: the vendor places this feature in one location, and the path is between two sites",
        limit_id=requirement.limit_id,
    )


def statement(vendor_statement: NonNumericStatement, is_confirmed: bool) -> Reason:
    state = "the operator confirms that this is known" if is_confirmed else "not confirmed by the operator"
    return make_reason(
        "statement",
        f"statement of the vendor, {state}: {vendor_statement.what}",
        statement_id=vendor_statement.id,
    )


def statement_unconfirmed(vendor_statement: NonNumericStatement) -> Reason:
    return make_reason(
        "statement_unconfirmed",
        f"the statement {vendor_statement.id} of the vendor is not confirmed; confirm with --declare "
        f"{vendor_statement.id}=1 that it is known",
        statement_id=vendor_statement.id,
    )


def reported_only(requirement: Requirement, why: str) -> Reason:
    return make_reason(
        "reported_only",
        f"{requirement.limit_id} {requirement.text} is not part of the verdict: {why}",
        limit_id=requirement.limit_id,
    )


_RULE_TEXTS = {
    UseRule.CONDEMN_ONLY: "values below it do not show that a requirement is met",
    UseRule.ACQUIT_ONLY: "values above it reject nothing",
    UseRule.NOT_ALONE: "it neither accepts nor rejects a path unless another limit agrees",
}


def bound_by_rule(requirement: Requirement, rule: UseRule) -> Reason:
    return make_reason(
        "use_rule",
        f"{requirement.limit_id}: {rule.value}: {_RULE_TEXTS[rule]}",
        limit_id=requirement.limit_id,
        rule=rule.value,
    )


def advice(limit_ids: list[str]) -> Reason:
    return make_reason("advice", f"advice of the vendor, not a requirement: {', '.join(limit_ids)}")


def advice_followed(limit_ids: list[str]) -> Reason:
    return make_reason(
        "advice_followed",
        f"within means here that the advice of the vendor is followed; it is not a requirement: {', '.join(limit_ids)}",
    )


def advice_not_followed(limit_ids: list[str]) -> Reason:
    return make_reason(
        "advice_not_followed",
        f"the path does not follow the advice of the vendor; it violates no requirement: {', '.join(limit_ids)}",
    )


def within_by_milder_figure(own: Requirement, stricter: Requirement, verdict_class: VerdictClass) -> Reason:
    return make_reason(
        "within_by_milder_figure",
        f"the path is within by the milder figure {own.text} ({own.limit_id}), not by the stricter {stricter.text} "
        f"({stricter.limit_id}: {_format_class(verdict_class)}); both are on pages of the vendor",
        limit_id=own.limit_id,
        stricter_id=stricter.limit_id,
        stricter=verdict_class.value,
    )


def beyond_by_stricter_figure(own: Requirement, milder: Requirement, verdict_class: VerdictClass) -> Reason:
    return make_reason(
        "beyond_by_stricter_figure",
        f"only the stricter figure {own.text} ({own.limit_id}) rejects the path, the milder {milder.text} "
        f"({milder.limit_id}: {_format_class(verdict_class)}) does not; both are on pages of the vendor",
        limit_id=own.limit_id,
        milder_id=milder.limit_id,
        milder=verdict_class.value,
    )


def conflicting_figures(figures: Sequence[tuple[Requirement, VerdictClass]], conflict: ConflictingFigures) -> Reason:
    classes = {verdict_class for _, verdict_class in figures}
    if len(classes) == 1:
        number = "both" if len(figures) == 2 else f"all {len(figures)}"
        listed = _join([f"{figure.text} ({figure.limit_id})" for figure, _ in figures])
        text = f"{number} figures of the vendor give {_format_class(classes.pop())}: {listed}"
    else:
        listed = "; ".join(f"{figure.text} ({figure.limit_id}): {_format_class(word)}" for figure, word in figures)
        text = f"the figures of the vendor differ, and {conflict.limit_id} decides: {listed}"
    numbers = {figure.limit_id: verdict_class.value for figure, verdict_class in figures}
    return make_reason("conflicting_figures", text, **numbers)


def _join(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
