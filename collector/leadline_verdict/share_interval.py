"""Interval of the long-run share of good windows: the form that both editions of the rule report."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class IntervalMethod(StrEnum):
    """Method of the deciding bound; reported with it."""

    KORN_GRAUBARD = "korn_graubard_by_day"
    EPISODE_BOUND = "episode_bound"


class CountedState(StrEnum):
    """State whose episodes are counted: always bad in the second edition, the rarer state in the first."""

    BAD = "bad"
    GOOD = "good"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareInterval:
    """Bounds on the long-run share of good windows, each 0..1."""

    low: float
    high: float
    #: good / N, the point estimate.
    share: float
    method: IntervalMethod
    counted_state: CountedState
    #: Merged episodes of the counted state.
    episodes: int
    #: Mean span of the episodes in windows; None without any.
    mean_length: float | None
    #: Effective number of independent windows, p (1 - p) / Var; None for the episode bound and the second edition.
    n_eff: float | None
    #: Whole UTC days with a counted window.
    days: int
    #: N.
    windows: int
    #: m0, assumed longest unobserved outage; None if it was not used.
    unseen_outage_windows: int | None
