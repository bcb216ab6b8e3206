"""Map projection: Lambert azimuthal equal-area, and the viewport that contains a set of positions.

Rule: the projection is centred on the positions, so that all of them are visible and rings appear round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import asin, atan2, cos, degrees, hypot, radians, sin, sqrt

from leadline_collector.web.charts.coastlines import LonLat

#: Margin on each side, as a share of width and height.
MARGIN = 0.09
#: Minimum extent, about 640 km: a single position appears on a recognisable part of the map.
EXTENT_MIN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewport:
    """Visible part of the globe; lengths are in radii of the globe, ``y`` points up."""

    #: Centre of the projection.
    centre: LonLat
    #: Centre and size of the rectangle that must be visible.
    x: float
    y: float
    width: float
    height: float

    def project(self, position: LonLat) -> tuple[float, float]:
        """Project a position relative to ``centre``; the antipode of ``centre`` is at the rim."""
        longitude = radians(position[0] - self.centre[0])
        latitude, latitude_0 = radians(position[1]), radians(self.centre[1])
        cosine = sin(latitude_0) * sin(latitude) + cos(latitude_0) * cos(latitude) * cos(longitude)
        stretch = sqrt(2 / max(1e-6, 1 + cosine))
        y = cos(latitude_0) * sin(latitude) - sin(latitude_0) * cos(latitude) * cos(longitude)
        return stretch * cos(latitude) * sin(longitude), stretch * y

    def scale(self, width: float, height: float) -> float:
        """Return the pixels per radius of the globe on a canvas of this size."""
        usable = 1 - 2 * MARGIN
        return min(width * usable / self.width, height * usable / self.height)

    def to_pixel(self, position: LonLat, width: float, height: float) -> tuple[float, float]:
        """Return the pixel of a position, relative to the upper left corner of the canvas."""
        scale = self.scale(width, height)
        x, y = self.project(position)
        return width / 2 + scale * (x - self.x), height / 2 - scale * (y - self.y)

    def radius_deg(self, width: float, height: float) -> float:
        """Return the angle from ``centre`` to the farthest corner of the canvas; at most 180."""
        scale = self.scale(width, height)
        corner_distance = hypot(width / 2 / scale + abs(self.x), height / 2 / scale + abs(self.y))
        return degrees(2 * asin(min(1.0, corner_distance / 2)))


def fit_viewport(positions: Sequence[LonLat]) -> Viewport:
    """Return the viewport that contains all positions; at least one position."""
    centred = Viewport(centre=_find_centroid(positions), x=0, y=0, width=EXTENT_MIN, height=EXTENT_MIN)
    xs, ys = zip(*(centred.project(position) for position in positions), strict=True)
    left, right, bottom, top = min(xs), max(xs), min(ys), max(ys)
    return Viewport(
        centre=centred.centre,
        x=(left + right) / 2,
        y=(bottom + top) / 2,
        width=max(EXTENT_MIN, right - left),
        height=max(EXTENT_MIN, top - bottom),
    )


def _find_centroid(positions: Sequence[LonLat]) -> LonLat:
    """Return the mean direction of the positions from the centre of the globe; (0, 0) if they cancel out."""
    x = sum(cos(radians(latitude)) * cos(radians(longitude)) for longitude, latitude in positions)
    y = sum(cos(radians(latitude)) * sin(radians(longitude)) for longitude, latitude in positions)
    z = sum(sin(radians(latitude)) for _, latitude in positions)
    return degrees(atan2(y, x)), degrees(atan2(z, hypot(x, y)))
