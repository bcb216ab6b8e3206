"""Where the names stand on a map: beside their dots and on their rings, on sheets of several sizes.

Rule 1: no name covers another one or is cut off; one that finds no place is left out, and the tables have it.
Rule 2: beside that, names keep away from dots, signs and lines as well as they can.
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

#: Width and height of the sheets for which names are placed, each good for all up to the next; no browser's is smaller.
CANVAS_SIZES = ((320, 300), (560, 515), (900, 515))
#: Spots nearer than this many pixels share a name, of so many; a smaller ring has none.
MERGE_DISTANCE_PX, SITES_PER_LABEL_MAX, LABELLED_RADIUS_PX_MIN = 12, 3, 34
#: Between the names of sites that share a spot.
LABEL_SEPARATOR = " \u00b7 "
#: Of a letter of a bold name and of a ring's; estimates on the safe side.
_BOLD_CHAR_WIDTH_PX, _CHAR_WIDTH_PX, _LABEL_HEIGHT_PX = 7.4, 5.8, 15
#: Half of what a dot and a sign take.
_DOT_RADIUS_PX, _SIGN_RADIUS_PX = 5, 8
#: Alignment and offset of the middle of a name from its dot, the best first.
_LABEL_OFFSETS = (
    ("left", 8, -7), ("right", -8, -7), ("left", 8, 9), ("right", -8, 9),
    ("center", 0, -15), ("center", 0, 16), ("left", 11, 0), ("right", -11, 0),
)  # fmt: skip
#: What is in the way, and how much: names and the edge forbid a place.
_FORBIDDEN_COST, _DOT_COST, _SIGN_COST, _LINE_COST = 1_000, 40, 25, 4
#: With more lines than this they are everywhere.
_AVOIDED_LINES_MAX = 60
_SAMPLES_PER_HALF = 24

Pixel: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerLabel:
    """The name of a spot."""

    position: LonLat
    label: str
    tooltip: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLabel:
    """The name of a ring around ``centre``, and the places on the ring where it may stand, the best first."""

    centre: LonLat
    label: str
    positions: Sequence[LonLat]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part of the sheet, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def centred_at(cls, x: float, y: float, width: float, height: float) -> Box:
        """By its middle."""
        return cls(left=x - width / 2, top=y - height / 2, right=x + width / 2, bottom=y + height / 2)

    def overlaps(self, other: Box) -> bool:
        """They have a point in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def contains(self, pixel: Pixel) -> bool:
        """The point lies in it."""
        return self.left < pixel[0] < self.right and self.top < pixel[1] < self.bottom


class LabelLayout:
    """What is on a sheet already."""

    def __init__(
        self, viewport: Viewport, size: tuple[int, int], lines: Sequence[tuple[LonLat, LonLat, LonLat]]
    ) -> None:
        """``lines``: start, middle and end of each."""
        self._viewport, self._size = viewport, size
        self._label_boxes: list[Box] = []
        self._dot_boxes: list[Box] = []
        few = lines if len(lines) <= _AVOIDED_LINES_MAX else ()
        self._sign_boxes = [
            Box.centred_at(*self.to_pixel(middle), 2 * _SIGN_RADIUS_PX, 2 * _SIGN_RADIUS_PX) for _, middle, _ in few
        ]
        self._line_points = [point for line in few for point in _sample_line([self.to_pixel(place) for place in line])]

    def to_pixel(self, position: LonLat) -> Pixel:
        """Where a place lies."""
        return self._viewport.to_pixel(position, *self._size)

    def add_dots(self, pixels: Iterable[Pixel]) -> None:
        """Names keep away from these."""
        self._dot_boxes += [Box.centred_at(x, y, 2 * _DOT_RADIUS_PX, 2 * _DOT_RADIUS_PX) for x, y in pixels]

    def place_label(self, boxes: Sequence[Box]) -> int | None:
        """Take the best of these for a name: its number, or None if each is forbidden."""
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
    labels: Sequence[MarkerLabel],
    ring_labels: Sequence[RingLabel],
    lines: Sequence[tuple[LonLat, LonLat, LonLat]],
) -> tuple[list[DataRow], list[DataRow]]:
    """The names of spots and of rings for every sheet; ``least`` and ``most`` say for which widths a row is."""
    spots: list[DataRow] = []
    circles: list[DataRow] = []
    ends = [width for width, _ in CANVAS_SIZES[1:]]
    for size, least, most in zip(CANVAS_SIZES, [0, *ends], [*ends, 1e9], strict=True):
        sheet, only = LabelLayout(viewport, size, lines), {"least": least, "most": most}
        spots += [{**row, **only} for row in _place_marker_labels(sheet, labels)]
        circles += [{**row, **only} for row in _place_ring_labels(sheet, ring_labels)]
    return spots, circles


def _sample_line(line: Sequence[Pixel]) -> Iterator[Pixel]:
    """Points on a line of three, near enough to each other that none slips between two."""
    for (x, y), (to_x, to_y) in pairwise(line):
        for step in range(_SAMPLES_PER_HALF):
            yield x + (to_x - x) * step / _SAMPLES_PER_HALF, y + (to_y - y) * step / _SAMPLES_PER_HALF


def _place_marker_labels(layout: LabelLayout, labels: Sequence[MarkerLabel]) -> Iterator[DataRow]:
    pixels = [layout.to_pixel(name.position) for name in labels]
    layout.add_dots(pixels)
    for number, (name, (x, y)) in enumerate(zip(labels, pixels, strict=True)):
        near = [other for other, pixel in enumerate(pixels) if hypot(pixel[0] - x, pixel[1] - y) < MERGE_DISTANCE_PX]
        if near[0] != number:
            continue
        label = _join_labels([labels[one].label for one in near])
        if (
            best := layout.place_label([_compute_label_box(x, y, label, *place) for place in _LABEL_OFFSETS])
        ) is not None:
            align, dx, dy = _LABEL_OFFSETS[best]
            at = {"x": name.position[0], "y": name.position[1], "align": align, "dx": dx, "dy": dy}
            yield {**at, "label": label, "tip": name.tooltip, "href": name.href}


def _compute_label_box(x: float, y: float, label: str, align: str, dx: float, dy: float) -> Box:
    width = len(label) * _BOLD_CHAR_WIDTH_PX
    middle = x + dx + {"left": width / 2, "center": 0, "right": -width / 2}[align]
    return Box.centred_at(middle, y + dy, width, _LABEL_HEIGHT_PX)


def _join_labels(labels: Sequence[str]) -> str:
    names = [name for label in labels for name in label.split(LABEL_SEPARATOR)]
    return LABEL_SEPARATOR.join(names) if len(names) <= SITES_PER_LABEL_MAX else f"{names[0]} + {len(names) - 1}"


def _place_ring_labels(layout: LabelLayout, ring_labels: Iterable[RingLabel]) -> Iterator[DataRow]:
    """Each on its ring, where that is on the sheet and large enough to be told from the next one."""
    for ring in ring_labels:
        x, y = layout.to_pixel(ring.centre)
        pixels = [layout.to_pixel(place) for place in ring.positions]
        if hypot(pixels[0][0] - x, pixels[0][1] - y) < LABELLED_RADIUS_PX_MIN:
            continue
        boxes = [Box.centred_at(*pixel, len(ring.label) * _CHAR_WIDTH_PX, _LABEL_HEIGHT_PX) for pixel in pixels]
        if (best := layout.place_label(boxes)) is not None:
            yield {"x": ring.positions[best][0], "y": ring.positions[best][1], "label": ring.label}


def has_separable_markers(positions: Sequence[LonLat]) -> bool:
    """Whether the dots of several places are far enough from each other on the largest sheet to be told apart."""
    different = list(dict.fromkeys(positions))
    if len(different) < 2:
        return False
    pixels = [fit_viewport(different).to_pixel(place, *CANVAS_SIZES[-1]) for place in different]
    apart = (hypot(a[0] - b[0], a[1] - b[1]) for number, a in enumerate(pixels) for b in pixels[:number])
    return min(apart) >= 2 * MERGE_DISTANCE_PX
