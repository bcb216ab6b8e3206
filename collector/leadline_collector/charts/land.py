"""Outlines of the countries, as lines on the globe: what is drawn under a map. They come with the package countryinfo.

Its polygons are of the scale 1:110 million: right for a continent, coarse for a city. A few countries have none there
(of those with a coast: Myanmar, Jamaica and small islands), so nothing is filled, and borders are drawn like coasts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from math import cos, radians
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Place: TypeAlias = tuple[float, float]
#: Two decimals are a kilometre, which is finer than the outlines are.
DECIMALS = 2


def near(centre: Place, radius_deg: float) -> list[list[Place]]:
    """The outlines of which any corner is within ``radius_deg`` of ``centre``; places are (longitude, latitude)."""
    return [
        line
        for line, points in outlines()
        if bool((points @ _unit(centre) >= cos(radians(min(180, radius_deg)))).any())
    ]


@cache
def outlines() -> tuple[tuple[list[Place], NDArray[np.float64]], ...]:
    """Every outline with its corners on the unit sphere; read once (some 40 ms)."""
    rings = (ring for geometry in _geometries() for ring in _rings(geometry))
    return tuple((ring, np.array([_unit(place) for place in ring])) for ring in rings)


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
