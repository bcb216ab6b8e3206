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

LonLat: TypeAlias = tuple[float, float]
OutlineEdge: TypeAlias = frozenset[LonLat]
#: Two decimals are a kilometre, which is finer than the outlines are.
COORDINATE_DECIMALS = 2
#: Where polygons are cut for flat maps: no coast is there.
DATE_LINE_DEG, SOUTH_CUT_DEG = 179.85, -84.0
#: West, south, east, north of land without a sea where a country is missing, so that its borders look like coast:
#: Hungary, Serbia, the inner part of Myanmar.
INLAND_BOXES = ((16.0, 45.7, 23.0, 48.7), (19.0, 42.2, 23.1, 46.2), (93.0, 21.0, 101.3, 28.6))
_COAST, _BORDER = "coast", "border"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A line on the globe: a piece of coast, or of a border between two countries."""

    coordinates: list[LonLat]
    is_border: bool
    #: The corners on the unit sphere.
    unit_vectors: NDArray[np.float64]


def find_outlines(centre: LonLat, radius_deg: float) -> list[Outline]:
    """The outlines of which any corner is within ``radius_deg`` of ``centre``."""
    nearest = cos(radians(min(180, radius_deg)))
    return [one for one in load_outlines() if bool((one.unit_vectors @ _to_unit_vector(centre) >= nearest).any())]


@cache
def load_outlines() -> tuple[Outline, ...]:
    """Every outline, each once; read once (some 60 ms).

    What two countries have in common is their border; what only one has is coast.
    """
    rings = [ring for geometry in _load_geometries() for ring in _read_rings(geometry)]
    owners = Counter(frozenset(edge) for ring in rings for edge in pairwise(ring))
    return tuple(
        Outline(
            coordinates=places, is_border=is_border, unit_vectors=np.array([_to_unit_vector(place) for place in places])
        )
        for places, is_border in _split_rings(rings, owners)
    )


def _split_rings(
    rings: Iterable[list[LonLat]], countries_by_edge: Mapping[OutlineEdge, int]
) -> Iterator[tuple[list[LonLat], bool]]:
    """Rings cut where coast becomes border and the other way round; a border comes with the first of its countries."""
    drawn: set[OutlineEdge] = set()
    for ring in rings:
        edges = [(edge, _classify_edge(edge, countries_by_edge, drawn)) for edge in pairwise(ring)]
        drawn |= {frozenset(edge) for edge, _ in edges}
        for kind, run in groupby(edges, key=lambda one: one[1]):
            if kind is not None:
                found = [edge for edge, _ in run]
                yield [found[0][0], *(end for _, end in found)], kind == _BORDER


def _classify_edge(
    edge: tuple[LonLat, LonLat], countries_by_edge: Mapping[OutlineEdge, int], drawn_edges: Set[OutlineEdge]
) -> str | None:
    """None for what is not drawn: a border that is there already, and the cut along the date line and below 84° S."""
    if frozenset(edge) in drawn_edges or all(abs(long) > DATE_LINE_DEG or lat < SOUTH_CUT_DEG for long, lat in edge):
        return None
    is_inland = all(any(_is_in_box(place, box) for box in INLAND_BOXES) for place in edge)
    return _BORDER if is_inland or countries_by_edge[frozenset(edge)] > 1 else _COAST


def _is_in_box(position: LonLat, box: tuple[float, float, float, float]) -> bool:
    return box[0] <= position[0] <= box[2] and box[1] <= position[1] <= box[3]


def _load_geometries() -> Iterator[Any]:
    """The geometries of the package's files; none where its layout has changed, and a map without outlines."""
    folder = files("countryinfo").joinpath("data")
    for file in sorted(folder.iterdir(), key=lambda one: one.name) if folder.is_dir() else ():
        if file.name.endswith(".json"):
            collection = json.loads(file.read_text(encoding="utf-8")).get("geoJSON") or {}
            yield from (feature["geometry"] for feature in collection.get("features", ()))


def _read_rings(geometry: Any) -> Iterator[list[LonLat]]:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for polygon in polygons:
        for ring in polygon:
            yield [(round(place[0], COORDINATE_DECIMALS), round(place[1], COORDINATE_DECIMALS)) for place in ring]


def _to_unit_vector(position: Sequence[float]) -> NDArray[np.float64]:
    longitude, latitude = np.radians(position[0]), np.radians(position[1])
    return np.array(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], dtype=np.float64
    )
