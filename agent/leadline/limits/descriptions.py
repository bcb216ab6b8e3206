"""What the catalogue says about a limit, in words: for the command line and the pages. Decides nothing."""

from __future__ import annotations

from leadline.evaluation import UnevaluableLimit, derive_criterion
from leadline.limits.catalogue import Limit, Metric, Provenance, Statistic, TimeWindow

#: The most frequent answer of a source.
NOT_STATED = "not stated"
_METRIC_NAMES = {Metric.RTT: "round trip", Metric.ONE_WAY: "latency", Metric.MTU: "MTU"}


def describe_metric(limit: Limit) -> str:
    """What is limited: ``round trip``, ``latency of one direction``."""
    metric = _METRIC_NAMES.get(limit.metric, limit.metric.value)
    return f"{metric} of one direction" if limit.one_way else metric


def describe_statistic(limit: Limit) -> str:
    """What the source says its number applies to, with its own qualifications; "not stated" where it is silent."""
    stated = NOT_STATED if limit.statistic is Statistic.UNSPECIFIED else limit.statistic.value
    parts = (
        stated,
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
    """How windows are judged by a limit and what is assumed for it, or why they are not: one or two sentences."""
    answer = derive_criterion(limit)
    if isinstance(answer, UnevaluableLimit):
        return [f"not judged: {answer.reason}"]
    beside = f", with {answer.stricter_statistic} beside it" if answer.stricter_statistic else ""
    return [f"{answer.description}{beside}", *([f"assumed: {answer.approximation}"] if answer.approximation else [])]


def describe_provenance(limit: Limit) -> str:
    """Where the source's text was read."""
    return "nowhere: unverified, no evidence" if limit.read_in is Provenance.NO_SOURCE else limit.read_in.value
