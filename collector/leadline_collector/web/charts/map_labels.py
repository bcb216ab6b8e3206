"""Label placement on the map: next to dots and on rings, for several canvas sizes.

Rule 1: labels do not overlap and are not cut off. A label without a free position is omitted; the tables contain it.
Rule 2: labels avoid dots, signs and lines if possible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import hypot
from typing import TypeAlias

from leadline_collector.web.charts.coastlines import LonLat
from leadline_collector.web.charts.projection import Viewport, fit_viewport
from leadline_collector.web.charts.spec_templates import DataRow

#: Canvas sizes (width, height) with a placement; each applies up to the width of the next. No browser is smaller.
CANVAS_SIZES = ((320, 300), (560, 515), (900, 515))
#: Markers closer than this share a label.
MERGE_DISTANCE_PX = 12
#: A shared label lists up to this many sites.
SITES_PER_LABEL_MAX = 3
#: Smaller rings have no label.
LABELLED_RADIUS_PX_MIN = 34
#: Separates the names of sites in a shared label.
LABEL_SEPARATOR = " \u00b7 "
#: Width of a character in marker labels (bold) and ring labels, and height of a label; upper estimates.
_BOLD_CHAR_WIDTH_PX, _CHAR_WIDTH_PX, _LABEL_HEIGHT_PX = 7.4, 5.8, 15
#: Radius of a dot and of a sign.
_DOT_RADIUS_PX, _SIGN_RADIUS_PX = 5, 8
#: Alignment and offset of a label's centre from its dot, best first.
_LABEL_OFFSETS = (
    ("left", 8, -7), ("right", -8, -7), ("left", 8, 9), ("right", -8, 9),
    ("center", 0, -15), ("center", 0, 16), ("left", 11, 0), ("right", -11, 0),
)  # fmt: skip
#: Cost of each overlap. Other labels and the edge of the canvas are forbidden.
_FORBIDDEN_COST, _DOT_COST, _SIGN_COST, _LINE_COST = 1_000, 40, 25, 4
#: With more lines than this, labels cannot avoid them, so they are ignored.
_AVOIDED_LINES_MAX = 60
_SAMPLES_PER_HALF = 24

Pixel: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One or more sites at the same position."""

    position: LonLat
    label: str
    tooltip: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLabel:
    """Label of a ring around ``centre``, and its possible positions on the ring, best first."""

    centre: LonLat
    label: str
    positions: Sequence[LonLat]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Rectangle on the canvas, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def centred_at(cls, x: float, y: float, width: float, height: float) -> Box:
        """Return the box with the centre ``x``, ``y``."""
        return cls(left=x - width / 2, top=y - height / 2, right=x + width / 2, bottom=y + height / 2)

    def overlaps(self, other: Box) -> bool:
        """Return True if the boxes share a point."""
        overlaps_horizontally = self.left < other.right and other.left < self.right
        return overlaps_horizontally and self.top < other.bottom and other.top < self.bottom

    def contains(self, pixel: Pixel) -> bool:
        """Return True if the pixel is inside the box."""
        return self.left < pixel[0] < self.right and self.top < pixel[1] < self.bottom


class LabelLayout:
    """Occupied areas of one canvas."""

    def __init__(
        self, viewport: Viewport, size: tuple[int, int], lines: Sequence[tuple[LonLat, LonLat, LonLat]]
    ) -> None:
        """Create a layout with ``lines``, each with start, midpoint and end; a sign is at each midpoint."""
        self._viewport, self._size = viewport, size
        self._label_boxes: list[Box] = []
        self._dot_boxes: list[Box] = []
        avoidable_lines = lines if len(lines) <= _AVOIDED_LINES_MAX else ()
        self._sign_boxes = [
            Box.centred_at(*self.to_pixel(midpoint), 2 * _SIGN_RADIUS_PX, 2 * _SIGN_RADIUS_PX)
            for _, midpoint, _ in avoidable_lines
        ]
        self._line_points = [
            point for line in avoidable_lines for point in _sample_line([self.to_pixel(position) for position in line])
        ]

    def to_pixel(self, position: LonLat) -> Pixel:
        """Project a position onto the canvas."""
        return self._viewport.to_pixel(position, *self._size)

    def add_dots(self, pixels: Iterable[Pixel]) -> None:
        """Add dots that labels avoid."""
        self._dot_boxes += [Box.centred_at(x, y, 2 * _DOT_RADIUS_PX, 2 * _DOT_RADIUS_PX) for x, y in pixels]

    def place_label(self, boxes: Sequence[Box]) -> int | None:
        """Occupy the cheapest of the candidate boxes and return its index; None if all are forbidden."""
        costs = [self._cost(box) for box in boxes]
        best = min(range(len(boxes)), key=costs.__getitem__, default=None)
        if best is None or costs[best] >= _FORBIDDEN_COST:
            return None
        self._label_boxes.append(boxes[best])
        return best

    def _cost(self, box: Box) -> int:
        width, height = self._size
        if box.left < 2 or box.top < 2 or box.right > width - 2 or box.bottom > height - 2:
            return _FORBIDDEN_COST
        return (
            _FORBIDDEN_COST * any(map(box.overlaps, self._label_boxes))
            + _DOT_COST * sum(map(box.overlaps, self._dot_boxes))
            + _SIGN_COST * sum(map(box.overlaps, self._sign_boxes))
            + _LINE_COST * sum(map(box.contains, self._line_points))
        )


def place_labels(
    viewport: Viewport,
    markers: Sequence[Marker],
    ring_labels: Sequence[RingLabel],
    lines: Sequence[tuple[LonLat, LonLat, LonLat]],
) -> tuple[list[DataRow], list[DataRow]]:
    """Return the rows of marker labels and of ring labels for all canvas sizes.

    A row applies to canvas widths from ``least`` to below ``most``.
    """
    marker_rows: list[DataRow] = []
    ring_rows: list[DataRow] = []
    next_widths = [width for width, _ in CANVAS_SIZES[1:]]
    for size, least, most in zip(CANVAS_SIZES, [0, *next_widths], [*next_widths, 1e9], strict=True):
        layout, widths = LabelLayout(viewport, size, lines), {"least": least, "most": most}
        marker_rows += [{**row, **widths} for row in _place_marker_labels(layout, markers)]
        ring_rows += [{**row, **widths} for row in _place_ring_labels(layout, ring_labels)]
    return marker_rows, ring_rows


def _sample_line(line: Sequence[Pixel]) -> Iterator[Pixel]:
    """Yield points on a line of three vertices, close enough that no label fits between two."""
    for (x, y), (to_x, to_y) in pairwise(line):
        for step in range(_SAMPLES_PER_HALF):
            yield x + (to_x - x) * step / _SAMPLES_PER_HALF, y + (to_y - y) * step / _SAMPLES_PER_HALF


def _place_marker_labels(layout: LabelLayout, markers: Sequence[Marker]) -> Iterator[DataRow]:
    pixels = [layout.to_pixel(marker.position) for marker in markers]
    layout.add_dots(pixels)
    for index, (marker, (x, y)) in enumerate(zip(markers, pixels, strict=True)):
        neighbours = [other for other, (px, py) in enumerate(pixels) if hypot(px - x, py - y) < MERGE_DISTANCE_PX]
        if neighbours[0] != index:
            continue  # part of the label of an earlier marker
        label = _join_labels([markers[neighbour].label for neighbour in neighbours])
        boxes = [_compute_label_box(x, y, label, *offset) for offset in _LABEL_OFFSETS]
        if (best := layout.place_label(boxes)) is not None:
            align, dx, dy = _LABEL_OFFSETS[best]
            place = {"x": marker.position[0], "y": marker.position[1], "align": align, "dx": dx, "dy": dy}
            yield {**place, "label": label, "tip": marker.tooltip, "href": marker.href}


def _compute_label_box(x: float, y: float, label: str, align: str, dx: float, dy: float) -> Box:
    width = len(label) * _BOLD_CHAR_WIDTH_PX
    centre_x = x + dx + {"left": width / 2, "center": 0, "right": -width / 2}[align]
    return Box.centred_at(centre_x, y + dy, width, _LABEL_HEIGHT_PX)


def _join_labels(labels: Sequence[str]) -> str:
    names = [name for label in labels for name in label.split(LABEL_SEPARATOR)]
    return LABEL_SEPARATOR.join(names) if len(names) <= SITES_PER_LABEL_MAX else f"{names[0]} + {len(names) - 1}"


def _place_ring_labels(layout: LabelLayout, ring_labels: Iterable[RingLabel]) -> Iterator[DataRow]:
    """Yield a label for each ring that has a free position and is large enough to tell it from the next ring."""
    for ring in ring_labels:
        x, y = layout.to_pixel(ring.centre)
        pixels = [layout.to_pixel(position) for position in ring.positions]
        if hypot(pixels[0][0] - x, pixels[0][1] - y) < LABELLED_RADIUS_PX_MIN:
            continue
        boxes = [Box.centred_at(*pixel, len(ring.label) * _CHAR_WIDTH_PX, _LABEL_HEIGHT_PX) for pixel in pixels]
        if (best := layout.place_label(boxes)) is not None:
            yield {"x": ring.positions[best][0], "y": ring.positions[best][1], "label": ring.label}


def has_separable_markers(positions: Sequence[LonLat]) -> bool:
    """Return True if there are two or more different positions, and their dots do not touch on the largest canvas."""
    distinct = list(dict.fromkeys(positions))
    if len(distinct) < 2:
        return False
    pixels = [fit_viewport(distinct).to_pixel(position, *CANVAS_SIZES[-1]) for position in distinct]
    distances = (hypot(a[0] - b[0], a[1] - b[1]) for index, a in enumerate(pixels) for b in pixels[:index])
    return min(distances) >= 2 * MERGE_DISTANCE_PX
