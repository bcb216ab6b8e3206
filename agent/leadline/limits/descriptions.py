"""Descriptions of catalogue limits in words, for the command line and the pages."""

from __future__ import annotations

from collections.abc import Iterable

from leadline.evaluation import UnevaluableLimit, derive_criterion
from leadline.limits.catalogue import (
    LifecycleStatus,
    Limit,
    Metric,
    Profile,
    Provenance,
    SourceConfidence,
    Statistic,
    Strength,
    TimeWindow,
    UseRule,
    load_catalogue,
)

#: Text for an unspecified statistic.
NOT_STATED = "not stated"
_METRIC_NAMES = {Metric.RTT: "round trip", Metric.ONE_WAY: "latency", Metric.MTU: "MTU"}


def describe_metric(limit: Limit) -> str:
    """Describe the limited metric: ``round trip``, ``latency of one direction``."""
    metric = _METRIC_NAMES.get(limit.metric, limit.metric.value)
    return f"{metric} of one direction" if limit.one_way else metric


def describe_statistic(limit: Limit) -> str:
    """Describe the statistic that the source specifies, with its qualifications; "not stated" if unspecified."""
    statistic = NOT_STATED if limit.statistic is Statistic.UNSPECIFIED else limit.statistic.value
    parts = (
        statistic,
        limit.statistic_note,
        limit.jitter_definition,
        _describe_time_window(limit.time_window, limit.unit),
    )
    return "; ".join(part for part in parts if part)


def _describe_time_window(window: TimeWindow | None, unit: str) -> str | None:
    if window is None:
        return None
    parts = [f"over {window.window_s} s" if window.window_s else None]
    parts += [f"peaks to {window.peak_limit} {unit}" if window.peak_limit else None]
    parts += [f"for at most {window.peak_duration_s} s" if window.peak_duration_s else None]
    parts += [f"in any {window.peak_horizon_s} s" if window.peak_horizon_s else None]
    return " ".join(part for part in parts if part)


def describe_evaluation(limit: Limit) -> list[str]:
    """Describe the test of windows against a limit and its assumptions, or the reason why there is no test.

    The first sentence is the test or the reason; the rules of use are at the end.
    """
    criterion = derive_criterion(limit)
    if isinstance(criterion, UnevaluableLimit):
        return [f"not evaluated: {criterion.reason}", *describe_use(limit)]
    addition = f"; {criterion.stricter_statistic} is reported in addition" if criterion.stricter_statistic else ""
    assumptions = [text for text in (criterion.approximation, limit.assumption) if text]
    return [
        f"{criterion.description}{addition}",
        *([f"assumed: {'; '.join(assumptions)}"] if assumptions else []),
        *describe_use(limit),
    ]


def describe_use(entry: Limit | Profile) -> list[str]:
    """Describe the claims that an answer may make with a limit or profile, and the statements it has to print."""
    lines = [f"use: {'; '.join(rule.value for rule in entry.use_rules)}"] if entry.use_rules else []
    lines += [f"statement: {item.what}" for item in load_catalogue().get_statements(entry.statements)]
    return [*lines, *([entry.as_of] if isinstance(entry, Limit) and entry.as_of else [])]


def describe_provenance(limit: Limit) -> str:
    """Describe where the text of the source was read."""
    return "nowhere: unverified, no evidence" if limit.read_in is Provenance.NO_SOURCE else limit.read_in.value


def list_reservations(limit: Limit, use_rules: Iterable[UseRule]) -> list[str]:
    """Return what a reader must know before relying on a limit: "superseded", "secondary", "advice, not requirement".

    Empty for a current requirement that was read in a source of the vendor. ``use_rules`` are those of the limit and
    of its profile.
    """
    reservations: list[str] = []
    if limit.status is not LifecycleStatus.CURRENT:
        reservations.append(limit.status.value)
    if limit.confidence is not SourceConfidence.VENDOR:
        reservations.append(limit.confidence.value)
    if UseRule.ADVICE in use_rules:
        reservations.append(UseRule.ADVICE.value)
    elif limit.strength is not Strength.REQUIREMENT:
        reservations.append(limit.strength.value)
    return reservations
