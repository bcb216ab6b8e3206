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

from leadline_collector.web.charts.coastlines import Place
from leadline_collector.web.charts.projection import View, view_of
from leadline_collector.web.charts.spec_templates import Row

#: Width and height of the sheets for which names are placed, each good for all up to the next; no browser's is smaller.
SHEETS = ((320, 300), (560, 515), (900, 515))
#: Spots nearer than this many pixels share a name, of so many; a smaller ring has none.
NEAR, NAMES_MAX, RADIUS_MIN = 12, 3, 34
#: Between the names of sites that share a spot.
BETWEEN = " \u00b7 "
#: Of a letter of a bold name and of a ring's; estimates on the safe side.
_LETTER, _LETTER_THIN, _HEIGHT = 7.4, 5.8, 15
#: Half of what a dot and a sign take.
_DOT, _SIGN = 5, 8
#: Alignment and offset of the middle of a name from its dot, the best first.
_PLACES = (
    ("left", 8, -7), ("right", -8, -7), ("left", 8, 9), ("right", -8, 9),
    ("center", 0, -15), ("center", 0, 16), ("left", 11, 0), ("right", -11, 0),
)  # fmt: skip
#: What is in the way, and how much: names and the edge forbid a place.
_FORBIDDEN, _DOT_COST, _SIGN_COST, _LINE_COST = 1_000, 40, 25, 4
#: With more lines than this they are everywhere.
_LINES_MAX = 60
_STEPS = 24

Pixel: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """The name of a spot."""

    place: Place
    label: str
    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RingName:
    """The name of a ring around ``centre``, and the places on the ring where it may stand, the best first."""

    centre: Place
    label: str
    places: Sequence[Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A part of the sheet, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """By its middle."""
        return cls(left=x - width / 2, top=y - height / 2, right=x + width / 2, bottom=y + height / 2)

    def meets(self, other: Box) -> bool:
        """They have a point in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def has(self, pixel: Pixel) -> bool:
        """The point lies in it."""
        return self.left < pixel[0] < self.right and self.top < pixel[1] < self.bottom


class Sheet:
    """What is on a sheet already."""

    def __init__(self, view: View, size: tuple[int, int], lines: Sequence[tuple[Place, Place, Place]]) -> None:
        """``lines``: start, middle and end of each."""
        self._view, self._size = view, size
        self._names: list[Box] = []
        self._dots: list[Box] = []
        few = lines if len(lines) <= _LINES_MAX else ()
        self._signs = [Box.around(*self.pixel(middle), 2 * _SIGN, 2 * _SIGN) for _, middle, _ in few]
        self._points = [point for line in few for point in _points([self.pixel(place) for place in line])]

    def pixel(self, place: Place) -> Pixel:
        """Where a place lies."""
        return self._view.pixel(place, *self._size)

    def add_dots(self, pixels: Iterable[Pixel]) -> None:
        """Names keep away from these."""
        self._dots += [Box.around(x, y, 2 * _DOT, 2 * _DOT) for x, y in pixels]

    def put(self, boxes: Sequence[Box]) -> int | None:
        """Take the best of these for a name: its number, or None if each is forbidden."""
        costs = [self._cost(box) for box in boxes]
        best = min(range(len(boxes)), key=costs.__getitem__, default=None)
        if best is None or costs[best] >= _FORBIDDEN:
            return None
        self._names.append(boxes[best])
        return best

    def _cost(self, box: Box) -> int:
        width, height = self._size
        if box.left < 2 or box.top < 2 or box.right > width - 2 or box.bottom > height - 2:
            return _FORBIDDEN
        return (
            _FORBIDDEN * any(map(box.meets, self._names))
            + _DOT_COST * sum(map(box.meets, self._dots))
            + _SIGN_COST * sum(map(box.meets, self._signs))
            + _LINE_COST * sum(map(box.has, self._points))
        )


def placed(
    view: View, names: Sequence[Name], rings: Sequence[RingName], lines: Sequence[tuple[Place, Place, Place]]
) -> tuple[list[Row], list[Row]]:
    """The names of spots and of rings for every sheet; ``least`` and ``most`` say for which widths a row is."""
    spots: list[Row] = []
    circles: list[Row] = []
    ends = [width for width, _ in SHEETS[1:]]
    for size, least, most in zip(SHEETS, [0, *ends], [*ends, 1e9], strict=True):
        sheet, only = Sheet(view, size, lines), {"least": least, "most": most}
        spots += [{**row, **only} for row in _spot_names(sheet, names)]
        circles += [{**row, **only} for row in _ring_names(sheet, rings)]
    return spots, circles


def _points(line: Sequence[Pixel]) -> Iterator[Pixel]:
    """Points on a line of three, near enough to each other that none slips between two."""
    for (x, y), (to_x, to_y) in pairwise(line):
        for step in range(_STEPS):
            yield x + (to_x - x) * step / _STEPS, y + (to_y - y) * step / _STEPS


def _spot_names(sheet: Sheet, names: Sequence[Name]) -> Iterator[Row]:
    pixels = [sheet.pixel(name.place) for name in names]
    sheet.add_dots(pixels)
    for number, (name, (x, y)) in enumerate(zip(names, pixels, strict=True)):
        near = [other for other, pixel in enumerate(pixels) if hypot(pixel[0] - x, pixel[1] - y) < NEAR]
        if near[0] != number:
            continue
        label = _joined([names[one].label for one in near])
        if (best := sheet.put([_beside(x, y, label, *place) for place in _PLACES])) is not None:
            align, dx, dy = _PLACES[best]
            at = {"x": name.place[0], "y": name.place[1], "align": align, "dx": dx, "dy": dy}
            yield {**at, "label": label, "tip": name.text, "href": name.href}


def _beside(x: float, y: float, label: str, align: str, dx: float, dy: float) -> Box:
    width = len(label) * _LETTER
    middle = x + dx + {"left": width / 2, "center": 0, "right": -width / 2}[align]
    return Box.around(middle, y + dy, width, _HEIGHT)


def _joined(labels: Sequence[str]) -> str:
    names = [name for label in labels for name in label.split(BETWEEN)]
    return BETWEEN.join(names) if len(names) <= NAMES_MAX else f"{names[0]} + {len(names) - 1}"


def _ring_names(sheet: Sheet, rings: Iterable[RingName]) -> Iterator[Row]:
    """Each on its ring, where that is on the sheet and large enough to be told from the next one."""
    for ring in rings:
        x, y = sheet.pixel(ring.centre)
        pixels = [sheet.pixel(place) for place in ring.places]
        if hypot(pixels[0][0] - x, pixels[0][1] - y) < RADIUS_MIN:
            continue
        boxes = [Box.around(*pixel, len(ring.label) * _LETTER_THIN, _HEIGHT) for pixel in pixels]
        if (best := sheet.put(boxes)) is not None:
            yield {"x": ring.places[best][0], "y": ring.places[best][1], "label": ring.label}


def is_readable(places: Sequence[Place]) -> bool:
    """Whether the dots of several places are far enough from each other on the largest sheet to be told apart."""
    different = list(dict.fromkeys(places))
    if len(different) < 2:
        return False
    pixels = [view_of(different).pixel(place, *SHEETS[-1]) for place in different]
    apart = (hypot(a[0] - b[0], a[1] - b[1]) for number, a in enumerate(pixels) for b in pixels[:number])
    return min(apart) >= 2 * NEAR
