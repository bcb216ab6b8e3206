"""Texts about propagation delay between two sites; ``leadline.propagation`` computes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leadline import propagation
from leadline.evaluation import Criterion
from leadline.mesh.model import Mesh
from leadline.model import Pair
from leadline.propagation import Feasibility, Plausibility, PropagationDelay
from leadline.rounding import round_down, round_up
from leadline_collector.mesh.propagation import get_propagation_delay
from leadline_collector.web.formatting import format_ms
from leadline_verdict.pair import PairWindows

#: Labels of limits that no route can meet; ``WindowState`` has the labels of measured states.
REACH_LABELS = {Feasibility.IMPOSSIBLE: "impossible", Feasibility.IMPOSSIBLE_ON_GLASS_FIBRE: "impossible on glass"}
#: Label of a pair with a reply faster than light; it replaces the measured state.
INVALID_LABEL = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class PropagationView:
    """Minimum RTTs of a pair, as texts."""

    distance: str
    uncertainty: str
    vacuum_rtt_min: str
    glass_rtt_min: str
    glass_index: str
    measured_rtt_min: str | None
    inflation: str | None
    fibre_length_max: str | None
    #: Warning about an implausible measured minimum; None if plausible.
    warning: str | None


def classify_reach(mesh: Mesh, pair: Pair, criteria: Iterable[Criterion]) -> Feasibility:
    """Return the worst feasibility of the RTT limits."""
    delay = get_propagation_delay(mesh.get_site(pair.source), mesh.get_site(pair.destination))
    reaches = {
        propagation.check_feasibility(delay, criterion.limit_us, criterion.comparison).feasibility
        for criterion in criteria
        if criterion.is_rtt_limit
    }
    return next((reach for reach in REACH_LABELS if reach in reaches), Feasibility.POSSIBLE)


def find_override_label(mesh: Mesh, pair: Pair, criteria: Iterable[Criterion], *, is_invalid: bool) -> str | None:
    """Return the label that replaces the measured state, in the order of verdicts; None without one."""
    return INVALID_LABEL if is_invalid else REACH_LABELS.get(classify_reach(mesh, pair, criteria))


def has_invalid_minimum(windows: PairWindows) -> bool:
    """Return True if the smallest RTT is below the propagation delay in a vacuum (``analysis.matrix``)."""
    if windows.propagation_delay is None:
        return False
    minima = [series.min_rtt_us() for series in windows.series]
    min_us = min((value for value in minima if value is not None), default=None)
    if min_us is None:
        return False
    return propagation.check_plausibility(windows.propagation_delay, min_us).plausibility is Plausibility.INVALID


def describe_reach(delay: PropagationDelay, criterion: Criterion) -> str:
    """Describe the feasibility of an RTT limit."""
    result = propagation.check_feasibility(delay, criterion.limit_us, criterion.comparison)
    if result.feasibility is not Feasibility.POSSIBLE:
        reachable_km = round_down(result.reachable_km, 0)
        return f"{REACH_LABELS[result.feasibility]}: straight glass fibre reaches {reachable_km:,} km within it"
    if result.route_factor_max is None:
        return "possible: both sites have the same coordinates"
    return f"possible if the route is at most {round_down(result.route_factor_max, 2)} times the distance"


_PLAUSIBILITY_WARNINGS = {
    Plausibility.INVALID: "The measured minimum is faster than light in a vacuum: the coordinates or the clock are "
    "wrong. Do not use data of this pair until they are corrected.",
    Plausibility.CHECK_COORDINATES_OR_MEDIUM: "The measured minimum is faster than light in glass fibre: check the "
    "coordinates, unless the path uses microwave or hollow-core fibre.",
}


def build_propagation_view(delay: PropagationDelay, mesh: Mesh, pair: Pair, min_us: int | None) -> PropagationView:
    """Compare the measured minimum of a pair with its minimum RTTs; ``min_us`` is None without replies."""
    measured = None if min_us is None else propagation.check_plausibility(delay, min_us)
    uncertainty_km = mesh.get_site(pair.source).uncertainty_km + mesh.get_site(pair.destination).uncertainty_km
    return PropagationView(
        distance=f"{delay.distance_km:,.1f} km",
        uncertainty=f"{uncertainty_km:g} km",
        vacuum_rtt_min=format_ms(delay.vacuum_ns // 1_000),
        glass_rtt_min=format_ms(delay.glass_ns // 1_000),
        glass_index=f"{float(delay.glass_index):g}",
        measured_rtt_min=None if min_us is None else format_ms(min_us),
        inflation=f"{measured.inflation:.2f}" if measured and measured.inflation is not None else None,
        fibre_length_max=f"{round_up(measured.fibre_km_max, 1):,} km" if measured else None,
        warning=_PLAUSIBILITY_WARNINGS.get(measured.plausibility) if measured else None,
    )
