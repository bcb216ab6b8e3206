"""What light allows between two sites, in words: for the pages. The arithmetic is ``leadline.propagation``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from leadline import propagation
from leadline.evaluation import Criterion
from leadline.mesh.model import Mesh
from leadline.model import Pair
from leadline.propagation import Floors, Plausibility, Reach
from leadline_collector.web import formatting

#: The words for what no route can do; ``State`` has the words for what was measured.
REACH_WORDS = {Reach.IMPOSSIBLE: "impossible", Reach.IMPOSSIBLE_ON_GLASS_FIBRE: "impossible on glass"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """What light says to a pair; texts."""

    distance: str
    uncertainty: str
    vacuum: str
    glass: str
    glass_index: str
    minimum: str | None
    inflation: str | None
    fibre: str | None
    #: What is wrong with the measured minimum; None if nothing is.
    warning: str | None


def reach_of(mesh: Mesh, pair: Pair, criteria: Iterable[Criterion]) -> Reach:
    """The worst of what light says to the limits that bound the round trip."""
    floors = propagation.floors(mesh.site(pair.source), mesh.site(pair.destination))
    reaches = {propagation.physics(floors, one.limit_us, one.comparison).reach for one in criteria if one.bounds_rtt}
    return next((reach for reach in REACH_WORDS if reach in reaches), Reach.POSSIBLE)


def reach_text(floors: Floors, one: Criterion) -> str:
    """What light says to a limit on the round trip."""
    found = propagation.physics(floors, one.limit_us, one.comparison)
    if found.reach is not Reach.POSSIBLE:
        return f"{REACH_WORDS[found.reach]}: reaches {found.reach_km:,.0f} km of straight glass"
    if found.route_factor_max is None:
        return "possible: no distance between the coordinates"
    return f"possible on a route of at most {found.route_factor_max:.2f} times the distance"


_WARNINGS = {
    Plausibility.INVALID: "The minimum is faster than light in a vacuum: coordinates or clock are wrong, and nothing "
    "may be concluded from this pair until they are right.",
    Plausibility.CHECK_COORDINATES_OR_MEDIUM: "The minimum is faster than glass fibre allows: check the coordinates, "
    "unless the path is microwave or hollow core.",
}


def light(floors: Floors, mesh: Mesh, pair: Pair, min_us: int | None) -> Light:
    """The floors of a pair, and its measured minimum against them; ``min_us`` None if nothing came back."""
    measured = None if min_us is None else propagation.measured_minimum(floors, min_us)
    uncertainty_km = mesh.site(pair.source).uncertainty_km + mesh.site(pair.destination).uncertainty_km
    return Light(
        distance=f"{floors.distance_km:,.1f} km",
        uncertainty=f"{uncertainty_km:g} km",
        vacuum=formatting.ms(floors.vacuum_ns // 1_000),
        glass=formatting.ms(floors.glass_ns // 1_000),
        glass_index=f"{float(floors.glass_index):g}",
        minimum=None if min_us is None else formatting.ms(min_us),
        inflation=f"{measured.inflation:.2f}" if measured and measured.inflation is not None else None,
        fibre=f"{measured.fibre_km_max:,.1f} km" if measured else None,
        warning=_WARNINGS.get(measured.plausibility) if measured else None,
    )
