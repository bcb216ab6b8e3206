"""Outlines of the countries, as lines on the globe: what is drawn under a map. They come with the package countryinfo.

Its polygons are of the scale 1:110 million: right for a continent, coarse for a city. A few countries have none there
(of those with a coast: Montenegro, Myanmar, Jamaica and small islands), so nothing is filled.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby, pairwise
from math import cos, radians
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Place: TypeAlias = tuple[float, float]
Edge: TypeAlias = frozenset[Place]
#: Two decimals are a kilometre, which is finer than the outlines are.
DECIMALS = 2
#: Where polygons are cut for flat maps: no coast is there.
DATE_LINE, CUT = 179.85, -84.0
#: West, south, east, north of land without a sea where a country is missing, so that its borders look like coast:
#: Hungary, Serbia, the inner part of Myanmar.
INLAND = ((16.0, 45.7, 23.0, 48.7), (19.0, 42.2, 23.1, 46.2), (93.0, 21.0, 101.3, 28.6))
_COAST, _BORDER = "coast", "border"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A line on the globe: a piece of coast, or of a border between two countries."""

    places: list[Place]
    is_border: bool
    #: The corners on the unit sphere.
    points: NDArray[np.float64]


def near(centre: Place, radius_deg: float) -> list[Outline]:
    """The outlines of which any corner is within ``radius_deg`` of ``centre``."""
    nearest = cos(radians(min(180, radius_deg)))
    return [one for one in outlines() if bool((one.points @ _unit(centre) >= nearest).any())]


@cache
def outlines() -> tuple[Outline, ...]:
    """Every outline, each once; read once (some 60 ms).

    What two countries have in common is their border; what only one has is coast.
    """
    rings = [ring for geometry in _geometries() for ring in _rings(geometry)]
    owners = Counter(frozenset(edge) for ring in rings for edge in pairwise(ring))
    return tuple(
        Outline(places=places, is_border=is_border, points=np.array([_unit(place) for place in places]))
        for places, is_border in _pieces(rings, owners)
    )


def _pieces(rings: Iterable[list[Place]], owners: Mapping[Edge, int]) -> Iterator[tuple[list[Place], bool]]:
    """Rings cut where coast becomes border and the other way round; a border comes with the first of its countries."""
    drawn: set[Edge] = set()
    for ring in rings:
        edges = [(edge, _kind(edge, owners, drawn)) for edge in pairwise(ring)]
        drawn |= {frozenset(edge) for edge, _ in edges}
        for kind, run in groupby(edges, key=lambda one: one[1]):
            if kind is not None:
                found = [edge for edge, _ in run]
                yield [found[0][0], *(end for _, end in found)], kind == _BORDER


def _kind(edge: tuple[Place, Place], owners: Mapping[Edge, int], drawn: Set[Edge]) -> str | None:
    """None for what is not drawn: a border that is there already, and the cut along the date line and below 84° S."""
    if frozenset(edge) in drawn or all(abs(long) > DATE_LINE or lat < CUT for long, lat in edge):
        return None
    is_inland = all(any(_is_in(place, box) for box in INLAND) for place in edge)
    return _BORDER if is_inland or owners[frozenset(edge)] > 1 else _COAST


def _is_in(place: Place, box: tuple[float, float, float, float]) -> bool:
    return box[0] <= place[0] <= box[2] and box[1] <= place[1] <= box[3]


def _geometries() -> Iterator[Any]:
    """The geometries of the package's files; none where its layout has changed, and a map without outlines."""
    folder = files("countryinfo").joinpath("data")
    for file in sorted(folder.iterdir(), key=lambda one: one.name) if folder.is_dir() else ():
        if file.name.endswith(".json"):
            collection = json.loads(file.read_text(encoding="utf-8")).get("geoJSON") or {}
            yield from (feature["geometry"] for feature in collection.get("features", ()))


def _rings(geometry: Any) -> Iterator[list[Place]]:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for polygon in polygons:
        for ring in polygon:
            yield [(round(place[0], DECIMALS), round(place[1], DECIMALS)) for place in ring]


def _unit(place: Sequence[float]) -> NDArray[np.float64]:
    longitude, latitude = np.radians(place[0]), np.radians(place[1])
    return np.array(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], dtype=np.float64
    )
