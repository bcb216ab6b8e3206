"""Why a verdict is what it is: each reason a code, its numbers and one sentence, made in one place."""

from __future__ import annotations

from leadline.evaluation import CAMPAIGN_DAYS, CAMPAIGN_DAYS_PROVISIONAL
from leadline_verdict.compliance_share import Interval
from leadline_verdict.decision import COVERAGE_MIN, Measured, Rule
from leadline_verdict.document import LossAnswer, PhysicsAnswer, PhysicsLimitAnswer, Reason, Word
from leadline_verdict.requirements import Requirement


def percent(ratio: float) -> str:
    """A share as it is printed, three decimals and no more: ``99.653 %``."""
    return f"{100 * ratio:.3f} %"


def ms(us: float) -> str:
    """Microseconds as milliseconds: ``4.713 ms``."""
    return f"{us / 1_000:.3f} ms"


def _reason(code: str, text: str, **numbers: float | int | str) -> Reason:
    return Reason(code=code, numbers=numbers, text=text)


def faster_than_light(rtt_us: int, light: PhysicsAnswer) -> Reason:
    return _reason(
        "faster_than_light",
        f"the shortest round trip, {ms(rtt_us)}, is below what light needs in a vacuum, {ms(light.floor_vacuum_us)}: "
        "coordinates or clock are wrong",
        rtt_min_us=rtt_us,
        floor_vacuum_us=light.floor_vacuum_us,
    )


def floor_above_limit(limit: PhysicsLimitAnswer, light: PhysicsAnswer, medium: str, floor_us: float) -> Reason:
    return _reason(
        "floor_above_limit",
        f"light in {medium} needs {ms(floor_us)} for {light.distance_low_km:.0f} km and back, above the limit of "
        f"{ms(limit.limit_us)}",
        limit_id=limit.limit_id,
        limit_us=limit.limit_us,
        floor_us=floor_us,
        medium=medium,
    )


def measured_says(word: Word) -> Reason:
    return _reason("measured_says", f"the windows alone say {word.value.replace('_', ' ')}", verdict=word.value)


def check_coordinates(rtt_us: int, light: PhysicsAnswer) -> Reason:
    return _reason(
        "check_coordinates_or_medium",
        f"the shortest round trip, {ms(rtt_us)}, is faster than straight glass fibre, {ms(light.floor_glass_us)}: "
        "check the coordinates, or the path is no glass fibre",
        rtt_min_us=rtt_us,
        floor_glass_us=light.floor_glass_us,
    )


def nothing_to_judge(items: list[str]) -> Reason:
    return _reason("nothing_to_judge", f"no limit here is judged by measuring: {'; '.join(items)}")


def not_measured() -> Reason:
    return _reason("not_measured", "no window of this pair is in the store for this period")


def never_replied(sent: int) -> Reason:
    return _reason(
        "never_replied",
        f"none of {sent:,} probes was ever answered: a firewall or a wrong address looks the same as a dead path",
        sent=sent,
    )


def too_short(days: int) -> Reason:
    return _reason(
        "too_short",
        f"{days} days are fewer than the {CAMPAIGN_DAYS_PROVISIONAL} that see every hour of the week twice",
        days=days,
        days_needed=CAMPAIGN_DAYS_PROVISIONAL,
    )


def coverage_low(coverage: float) -> Reason:
    return _reason(
        "coverage_low",
        f"{percent(coverage)} of the minutes are known, {percent(COVERAGE_MIN)} are needed: a defect of the "
        "measurement, not of the path",
        coverage=coverage,
        coverage_needed=COVERAGE_MIN,
    )


def unknown_decides(found: Measured, minutes: int) -> Reason:
    return _reason(
        "unknown_decides",
        f"with the {minutes:,} unknown minutes bad the windows say {found.if_bad.value}, with them good "
        f"{found.if_good.value}",
        unknown=minutes,
        if_bad=found.if_bad.value,
        if_good=found.if_good.value,
    )


def share_below_target(interval: Interval, rule: Rule) -> Reason:
    return _reason(
        "share_below_target",
        f"at most {percent(interval.high)} of the minutes are within the limit even in the most favourable reading "
        f"(95 % confidence), below the target of {percent(rule.target_share)}",
        high=interval.high,
        target_share=rule.target_share,
        episodes=interval.k,
    )


def share_demonstrated(interval: Interval, rule: Rule) -> Reason:
    return _reason(
        "share_demonstrated",
        f"at least {percent(interval.low)} of the minutes are within the limit even in the least favourable reading "
        f"(95 % confidence), at or above the target of {percent(rule.target_share)}",
        low=interval.low,
        target_share=rule.target_share,
        episodes=interval.k,
    )


def undecided(low: float, high: float, rule: Rule) -> Reason:
    return _reason(
        "undecided",
        f"the share within the limit lies between {percent(low)} and {percent(high)}, and the target of "
        f"{percent(rule.target_share)} is between them",
        low=low,
        high=high,
        target_share=rule.target_share,
    )


def campaign_short(days: int) -> Reason:
    return _reason(
        "campaign_short",
        f"{days} days: a final answer needs {CAMPAIGN_DAYS}, so that every hour of the week is seen four times",
        days=days,
        days_needed=CAMPAIGN_DAYS,
    )


def missing_at_random(unknown: int) -> Reason:
    return _reason(
        "missing_at_random",
        f"{unknown:,} unknown minutes with a logged cause were left out, as if they were like the others",
        unknown=unknown,
    )


def hours_thin(count: int, needed: int) -> Reason:
    return _reason(
        "hours_of_week_missing",
        f"{count} of 168 hours of the week are known for less than 80 % or were seen fewer than {needed} times",
        hours=count,
        visits_needed=needed,
    )


def not_vouched_for(item: Requirement) -> Reason:
    why = item.reason or "no ping can show it, and nobody declared it"
    return _reason("not_vouched_for", f"{item.limit_id} {item.text}: {why}", limit_id=item.limit_id)


def declared_unmet(item: Requirement) -> Reason:
    return _reason(
        "declared_unmet",
        f"{item.limit_id} asks for {item.text}, and {item.declared} was declared: declared, not measured",
        limit_id=item.limit_id,
        declared=str(item.declared),
        limit=item.text,
    )


def loss_above(loss: LossAnswer) -> Reason:
    assert loss.low is not None
    return _reason(
        "loss_above_limit",
        f"{loss.lost:,} of {loss.sent:,} probes were lost: at least {percent(loss.low)}, above the limit of "
        f"{percent(loss.limit_ratio)}",
        limit_id=loss.limit_id,
        lost=loss.lost,
        sent=loss.sent,
        low=loss.low,
        limit_ratio=loss.limit_ratio,
    )


def loss_not_demonstrable(loss: LossAnswer) -> Reason:
    return _reason(
        "loss_not_demonstrable_yet",
        f"{loss.lost:,} of {loss.sent:,} probes were lost; to show {loss.limit_ratio:.6%} takes {loss.probes_needed:,} "
        "more without a loss",
        limit_id=loss.limit_id,
        lost=loss.lost,
        sent=loss.sent,
        limit_ratio=loss.limit_ratio,
        probes_needed=loss.probes_needed,
    )


def segments_disagree(words: list[str], whole: Word, *, is_last_told: bool) -> Reason:
    decided = "the last one decides" if is_last_told else "the last one is too short to decide"
    return _reason(
        "segments_disagree",
        f"the path changed during the period, and its parts say {', then '.join(words)}; {decided}, and the whole "
        f"period says {whole.value.replace('_', ' ')}",
        segments=len(words),
        whole=whole.value,
    )


def is_imported(agents: list[str]) -> Reason:
    return _reason(
        "imported",
        f"windows of {', '.join(agents)} came from a file and not from an agent: nobody vouches for how they were "
        "taken",
        agents=len(agents),
    )


def is_simulated() -> Reason:
    return _reason("simulated", "some of these windows were generated and not measured: this is no evidence")
