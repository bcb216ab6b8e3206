"""Coastlines and borders for the background of the map, from the polygons of the package countryinfo.

The polygons have the scale 1:110 million: good for a continent, coarse for a city. Some countries have no polygon
(with a coast: Montenegro, Myanmar, Jamaica and small islands), so the map draws lines and fills no area.
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
#: Two decimals are about a kilometre, finer than the polygons.
COORDINATE_DECIMALS = 2
#: The polygons are cut here for flat maps; edges along a cut are not coast.
DATE_LINE_DEG, SOUTH_CUT_DEG = 179.85, -84.0
#: West, south, east, north of inland areas where a polygon is missing and its neighbours' borders look like coast:
#: Hungary, Serbia, inland Myanmar.
INLAND_BOXES = ((16.0, 45.7, 23.0, 48.7), (19.0, 42.2, 23.1, 46.2), (93.0, 21.0, 101.3, 28.6))
_COAST, _BORDER = "coast", "border"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """Line on the globe: a section of a coast, or of a border between two countries."""

    coordinates: list[LonLat]
    is_border: bool
    #: The vertices on the unit sphere.
    unit_vectors: NDArray[np.float64]


def find_outlines(centre: LonLat, radius_deg: float) -> list[Outline]:
    """Return the outlines with at least one vertex within ``radius_deg`` of ``centre``."""
    cosine_min = cos(radians(min(180, radius_deg)))
    centre_vector = _to_unit_vector(centre)
    return [outline for outline in load_outlines() if bool((outline.unit_vectors @ centre_vector >= cosine_min).any())]


@cache
def load_outlines() -> tuple[Outline, ...]:
    """Load all outlines; cached, the first call takes about 60 ms.

    An edge shared by two countries is a border, an edge of one country is coast.
    """
    rings = [ring for geometry in _load_geometries() for ring in _read_rings(geometry)]
    countries_by_edge = Counter(frozenset(edge) for ring in rings for edge in pairwise(ring))
    return tuple(
        Outline(
            coordinates=line,
            is_border=is_border,
            unit_vectors=np.array([_to_unit_vector(position) for position in line]),
        )
        for line, is_border in _split_rings(rings, countries_by_edge)
    )


def _split_rings(
    rings: Iterable[list[LonLat]], countries_by_edge: Mapping[OutlineEdge, int]
) -> Iterator[tuple[list[LonLat], bool]]:
    """Split rings between coast and border. Each border is yielded once, with the first of its countries."""
    drawn_edges: set[OutlineEdge] = set()
    for ring in rings:
        classified_edges = [(edge, _classify_edge(edge, countries_by_edge, drawn_edges)) for edge in pairwise(ring)]
        drawn_edges |= {frozenset(edge) for edge, _ in classified_edges}
        for kind, run in groupby(classified_edges, key=lambda classified: classified[1]):
            if kind is not None:
                edges = [edge for edge, _ in run]
                yield [edges[0][0], *(end for _, end in edges)], kind == _BORDER


def _classify_edge(
    edge: tuple[LonLat, LonLat], countries_by_edge: Mapping[OutlineEdge, int], drawn_edges: Set[OutlineEdge]
) -> str | None:
    """Return coast or border; None for edges not to draw: already drawn, on the date line, or south of 84° S."""
    if frozenset(edge) in drawn_edges or all(abs(long) > DATE_LINE_DEG or lat < SOUTH_CUT_DEG for long, lat in edge):
        return None
    is_inland = all(any(_is_in_box(position, box) for box in INLAND_BOXES) for position in edge)
    return _BORDER if is_inland or countries_by_edge[frozenset(edge)] > 1 else _COAST


def _is_in_box(position: LonLat, box: tuple[float, float, float, float]) -> bool:
    return box[0] <= position[0] <= box[2] and box[1] <= position[1] <= box[3]


def _load_geometries() -> Iterator[Any]:
    """Yield the geometries of the package; nothing if its layout has changed: the map then has no outlines."""
    folder = files("countryinfo").joinpath("data")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name) if folder.is_dir() else ():
        if file.name.endswith(".json"):
            collection = json.loads(file.read_text(encoding="utf-8")).get("geoJSON") or {}
            yield from (feature["geometry"] for feature in collection.get("features", ()))


def _read_rings(geometry: Any) -> Iterator[list[LonLat]]:
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    for polygon in polygons:
        for ring in polygon:
            yield [(round(point[0], COORDINATE_DECIMALS), round(point[1], COORDINATE_DECIMALS)) for point in ring]


def _to_unit_vector(position: Sequence[float]) -> NDArray[np.float64]:
    longitude, latitude = np.radians(position[0]), np.radians(position[1])
    return np.array(
        [np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)], dtype=np.float64
    )
