"""Stored rows to states: reads just the columns a profile needs and asks ``leadline.evaluation`` once per different row.

There is one implementation of the judgement, and it is not here. Windows repeat: 60 sent, 60 received, and a p95 out of
a few hundred values; so a month of a pair is a few thousand questions instead of forty thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from leadline.evaluation import Judged, Measure, State, WindowJudgement, merge_paths, profile_judgement
from leadline.model import ErrorBound
from leadline.statistics import WindowStats

#: The values of ``Judge.columns`` of one row.
Facts: TypeAlias = tuple[int | None, ...]

#: What each measure looks at.
_COLUMNS = {
    Measure.MEAN: ("mean_us",),
    Measure.P50: ("p50_us",),
    Measure.P95: ("p95_us",),
    Measure.P99: ("p99_us",),
    Measure.MAX: ("max_us",),
    Measure.PDV: ("pdv_us",),
    Measure.P95_PLUS_PDV: ("p95_us", "pdv_us"),
}


class Judge:
    """Judges rows by the criteria of one profile, and remembers."""

    def __init__(self, judged: Judged) -> None:
        self._criteria = judged.criteria
        needed = {name for criterion in judged.criteria for name in _COLUMNS[criterion.measure]}
        if any(criterion.peak_us is not None for criterion in judged.criteria):
            needed |= {"p50_us", "max_us"}
        #: What to read of every window.
        self.columns = ("expected", "sent", "received", "error_p99_us", *sorted(needed))
        self._known: dict[Facts, WindowJudgement] = {}
        self._merged: dict[tuple[WindowJudgement, ...], WindowJudgement] = {}

    def judgement(self, facts: Facts) -> WindowJudgement:
        """Both readings of one window of one path."""
        found = self._known.get(facts)
        if found is None:
            found = self._known[facts] = self._judged(facts)
        return found

    def merged(self, paths: Sequence[Facts]) -> WindowJudgement:
        """Both readings of one window of a pair with these paths."""
        judgements = tuple(self.judgement(facts) for facts in paths)
        found = self._merged.get(judgements)
        if found is None:
            found = self._merged[judgements] = merge_paths(judgements)
        return found

    def state(self, paths: Sequence[Facts]) -> State:
        """The state of a window of a pair as measured."""
        return self.merged(paths).pessimistic

    def _judged(self, facts: Facts) -> WindowJudgement:
        values = dict(zip(self.columns, facts, strict=True))
        error_us = values.pop("error_p99_us")
        bound = None if error_us is None else ErrorBound(p50_us=0, p99_us=error_us)
        return profile_judgement(_stats(values), self._criteria, bound)


def _stats(values: dict[str, int | None]) -> WindowStats:
    """Statistics of which only the columns that were read are true; the criteria look at no other."""
    expected, sent, received = (values[name] or 0 for name in ("expected", "sent", "received"))
    return WindowStats(
        expected=expected,
        sent=sent,
        received=received,
        min_us=None,
        mean_us=values.get("mean_us"),
        p50_us=values.get("p50_us"),
        p95_us=values.get("p95_us"),
        p99_us=values.get("p99_us"),
        max_us=values.get("max_us"),
        pdv_us=values.get("pdv_us"),
        mean_step_us=None,
        failures={},
    )
