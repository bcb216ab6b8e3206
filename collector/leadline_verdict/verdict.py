"""The verdict on a directed pair for one profile: everything put together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leadline.evaluation import CAMPAIGN_DAYS
from leadline.propagation import Plausibility
from leadline.wire.batch import is_imported
from leadline_verdict import reasons, sections
from leadline_verdict.compliance_share import Rule as IntervalRule
from leadline_verdict.counterfactuals import flips
from leadline_verdict.decision import Measured, Rule, measured
from leadline_verdict.document import PairVerdict, Reason, SegmentAnswer, Word
from leadline_verdict.hour_of_week import VISITS_NEEDED, VISITS_NEEDED_PROVISIONAL, HourOfWeek, hours_of_week, validity
from leadline_verdict.loss import loss_answer
from leadline_verdict.pair import PairWindows, pair_readings
from leadline_verdict.precedence import Facts, decide, provisos
from leadline_verdict.propagation import physics_answer
from leadline_verdict.requirements import Requirements
from leadline_verdict.sensitivity import sensitivity
from leadline_verdict.states import GOOD

if TYPE_CHECKING:
    from leadline_verdict.change_points import Segment

#: A claim on so many days of clustered days is strong (method.md §6.5).
STRONG_DAYS = 63


def pair_verdict(
    pair: PairWindows, asked: Requirements, rule: Rule, routes: Sequence[Segment] | None = None
) -> PairVerdict:
    """Judge one pair by everything that is asked. ``routes``: between changes of the path (``parts.routes_of``)."""
    facts, grid = _facts(pair, asked, rule)
    whole, why = decide(facts)
    shares = sections.shares_answer(facts.readings, facts.found, rule)
    episodes, episodes_total = sections.episodes_answer(pair, facts.readings.pessimistic)
    segments = sections.segment_answers(pair, facts.readings, rule, routes or ())
    word = _of_today(whole, facts, segments)
    return PairVerdict(
        source=pair.source,
        destination=pair.destination,
        profile=asked.id,
        verdict=word,
        labels=list(_labels(word, facts.found)),
        confidence=_confidence(word, facts.found),
        reasons=[*_of_routes(whole, segments), *why, *_notes(pair, facts)],
        flips=flips(word, pair, facts, shares),
        simulated=any(series.simulated for series in pair.series),
        paths=[f"{path.agent} to {path.target}" for path in pair.paths],
        coverage=facts.found.coverage,
        hours_missing=len({*facts.hours.thin_hours, *facts.hours.seldom_hours}),
        shares=shares,
        rtt=sections.rtt_answer(pair),
        physics=facts.light,
        loss=list(facts.losses),
        episodes=episodes,
        episodes_total=episodes_total,
        migration=sections.migration_answers(facts.readings),
        hours=sections.hour_answers(grid),
        segments=segments,
        segments_agree=len(set(sections.words_of(segments))) <= 1 if segments else None,
        sensitivity=sensitivity(pair, asked, rule, facts.found, lambda found: _settled(facts, found)),
    )


def _facts(pair: PairWindows, asked: Requirements, rule: Rule) -> tuple[Facts, tuple[HourOfWeek, ...]]:
    readings = pair_readings(pair, asked.criteria, asked.losses, with_error=rule.with_error)
    found = measured(readings, rule, pair.explained)
    grid = hours_of_week(readings.pessimistic == GOOD, ~readings.unknown, pair.start_s)
    visits = VISITS_NEEDED if found.days >= CAMPAIGN_DAYS else VISITS_NEEDED_PROVISIONAL
    rtt_min_us = pair.smallest_us()
    facts = Facts(
        asked=asked,
        rule=rule,
        readings=readings,
        found=found,
        light=physics_answer(pair.floors, asked.criteria, rtt_min_us),
        rtt_min_us=rtt_min_us,
        sent=sum(int(series.sent.sum(dtype=np.int64)) for series in pair.series),
        received=sum(int(series.received.sum(dtype=np.int64)) for series in pair.series),
        losses=[loss_answer(pair, loss) for loss in asked.losses if loss.window_s is None],
        hours=validity(grid, visits),
    )
    return facts, grid


#: What windows can say, so that what the last route says can stand in its place.
_MEASURED = {Word.BEYOND, Word.MARGINAL, Word.WITHIN, Word.WITHIN_PROVISIONAL}


def _of_today(whole: Word, facts: Facts, segments: Sequence[SegmentAnswer]) -> Word:
    """Where routes disagree the last one decides, if it lasted long enough to say anything (method.md §4.4)."""
    if whole not in _MEASURED or len(set(sections.words_of(segments))) < 2 or segments[-1].verdict is None:
        return whole
    last = Word(segments[-1].verdict)
    days = (segments[-1].end_s - segments[-1].start_s) // 86_400
    if last is Word.WITHIN and (days < CAMPAIGN_DAYS or any(provisos(facts))):
        return Word.WITHIN_PROVISIONAL
    return last


def _of_routes(whole: Word, segments: Sequence[SegmentAnswer]) -> Iterator[Reason]:
    words = list(sections.words_of(segments))
    if len(set(words)) > 1:
        yield reasons.segments_disagree(words, whole, is_last_told=segments[-1].verdict is not None)


def _settled(facts: Facts, found: Measured) -> Word:
    """The word of other windows, with what is open for this pair open as well."""
    if found.word is Word.WITHIN and any(provisos(replace(facts, found=found))):
        return Word.WITHIN_PROVISIONAL
    return found.word


def _labels(word: Word, found: Measured) -> Iterator[str]:
    """What managers grasp at once, of a path that is beyond."""
    if word is not Word.BEYOND or found.claim.optimistic is None:
        return
    if found.claim.optimistic.share == 0:
        yield "never"
    if found.claim.optimistic.share < 0.5:
        yield "outside_more_than_half"


def _confidence(word: Word, found: Measured) -> str | None:
    if word not in {Word.BEYOND, Word.MARGINAL, Word.WITHIN, Word.WITHIN_PROVISIONAL}:
        return None
    interval = found.claim.pessimistic
    if found.days >= STRONG_DAYS and interval and (interval.rule is IntervalRule.KORN_GRAUBARD or not interval.k):
        return "strong"
    return "adequate" if found.days >= CAMPAIGN_DAYS else "weak"


def _notes(pair: PairWindows, facts: Facts) -> Iterator[Reason]:
    """What a reader must know besides, whatever the verdict is."""
    light = facts.light
    if light and light.plausibility == Plausibility.CHECK_COORDINATES_OR_MEDIUM and facts.rtt_min_us is not None:
        yield reasons.check_coordinates(facts.rtt_min_us, light)
    if imported := sorted({path.agent for path in pair.paths if is_imported(path.agent)}):
        yield reasons.is_imported(imported)
    if any(series.simulated for series in pair.series):
        yield reasons.is_simulated()
