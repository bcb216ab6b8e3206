"""Which part of the globe a map shows, and where places lie on it: Lambert's azimuthal projection that keeps areas.

Rule: the map turns to the middle of its places, so that none is cut by the edge of a sheet and rings look like rings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import asin, atan2, cos, degrees, hypot, radians, sin, sqrt

from leadline_collector.web.charts.coastlines import LonLat

#: Of the width and height that stays free at each side.
MARGIN = 0.09
#: The least extent, about 640 km: places at one point are shown on a piece of land that can be recognised.
EXTENT_MIN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewport:
    """A part of the globe; lengths are in radii of the globe, ``y`` goes up."""

    #: Longitude and latitude of the point the map turns to.
    centre: LonLat
    #: Middle and size of the rectangle that must be seen.
    x: float
    y: float
    width: float
    height: float

    def project(self, position: LonLat) -> tuple[float, float]:
        """Where a place lies, from ``centre``; a place on the other side of the globe lies at the rim."""
        turn, latitude, middle = radians(position[0] - self.centre[0]), radians(position[1]), radians(self.centre[1])
        nearness = sin(middle) * sin(latitude) + cos(middle) * cos(latitude) * cos(turn)
        stretch = sqrt(2 / max(1e-6, 1 + nearness))
        up = cos(middle) * sin(latitude) - sin(middle) * cos(latitude) * cos(turn)
        return stretch * cos(latitude) * sin(turn), stretch * up

    def scale(self, width: float, height: float) -> float:
        """Pixels to a radius on a sheet of that size."""
        free = 1 - 2 * MARGIN
        return min(width * free / self.width, height * free / self.height)

    def to_pixel(self, position: LonLat, width: float, height: float) -> tuple[float, float]:
        """Where a place lies on the sheet, from its upper left corner."""
        scale = self.scale(width, height)
        x, y = self.project(position)
        return width / 2 + scale * (x - self.x), height / 2 - scale * (y - self.y)

    def radius_deg(self, width: float, height: float) -> float:
        """The angle from ``centre`` to the farthest corner of a sheet; at most 180."""
        scale = self.scale(width, height)
        reach = hypot(width / 2 / scale + abs(self.x), height / 2 / scale + abs(self.y))
        return degrees(2 * asin(min(1.0, reach / 2)))


def fit_viewport(positions: Sequence[LonLat]) -> Viewport:
    """The part of the globe in which all these places are; at least one."""
    turned = Viewport(centre=_find_centroid(positions), x=0, y=0, width=EXTENT_MIN, height=EXTENT_MIN)
    points = [turned.project(place) for place in positions]
    (left, right), (low, high) = _min_max(x for x, _ in points), _min_max(y for _, y in points)
    return Viewport(
        centre=turned.centre,
        x=(left + right) / 2,
        y=(low + high) / 2,
        width=max(EXTENT_MIN, right - left),
        height=max(EXTENT_MIN, high - low),
    )


def _find_centroid(positions: Sequence[LonLat]) -> LonLat:
    """The mean of the places as directions from the middle of the globe; places that cancel out give (0, 0)."""
    x = sum(cos(radians(latitude)) * cos(radians(longitude)) for longitude, latitude in positions)
    y = sum(cos(radians(latitude)) * sin(radians(longitude)) for longitude, latitude in positions)
    z = sum(sin(radians(latitude)) for _, latitude in positions)
    return degrees(atan2(y, x)), degrees(atan2(z, hypot(x, y)))


def _min_max(values: Iterable[float]) -> tuple[float, float]:
    known = list(values)
    return min(known), max(known)
