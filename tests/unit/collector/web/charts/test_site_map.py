"""The drawing of the map: what is on the sheet, where, and how it is told apart."""

from __future__ import annotations

from itertools import pairwise
from math import hypot
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.model import Site
from leadline.propagation import geodesic_distance_km
from leadline_collector.web.charts import coastlines, render
from leadline_collector.web.charts.map_labels import CANVAS_SIZES, Marker, has_separable_markers, place_labels
from leadline_collector.web.charts.projection import fit_viewport
from leadline_collector.web.charts.site_map import (
    MAP_HEIGHT,
    MAP_WIDTH,
    STATE_STYLES,
    Edge,
    RangeRing,
    build_site_map,
    find_midpoint,
    trace_ring,
)

FRANKFURT, ZURICH, NEW_YORK, TOKYO, AUCKLAND = (
    (8.68, 50.11),
    (8.54, 47.37),
    (-74.0, 40.7),
    (139.7, 35.7),
    (174.8, -36.8),
)
places = st.tuples(st.floats(-180, 180), st.floats(-85, 85))


def site(place: tuple[float, float]) -> Site:
    """A site there."""
    return Site(name="a", longitude_deg=place[0], latitude_deg=place[1])


def spot(place: tuple[float, float], label: str = "a") -> Marker:
    """A spot there."""
    return Marker(position=place, label=label, tooltip=label, href=f"/map?reach={label}")


def ring(km: float) -> RangeRing:
    """A ring around Frankfurt."""
    return RangeRing(centre=FRANKFURT, radius_km=km, label=f"{km:g} km", is_vacuum=False)


def data(spec: Any, name: str) -> list[Any]:
    """A data set of the drawing."""
    rows: list[Any] = spec["datasets"][name]
    return rows


@given(st.lists(places, min_size=1, max_size=6))
def test_every_place_is_on_the_sheet(found: list[tuple[float, float]]) -> None:
    """Wherever they are, on both sides of the date line and of the poles, unless they span half of the globe."""
    view = fit_viewport(found)
    is_near = all(hypot(*view.project(place)) < 1.41 for place in found)

    pixels = [view.to_pixel(place, MAP_WIDTH, MAP_HEIGHT) for place in found]

    if is_near:
        assert all(-0.01 <= x <= MAP_WIDTH + 0.01 and -0.01 <= y <= MAP_HEIGHT + 0.01 for x, y in pixels)


def test_sites_across_the_date_line_are_neighbours() -> None:
    """Tokyo and Auckland do not lie at the two ends of a sheet: the map turns to the Pacific."""
    assert 130 < fit_viewport([TOKYO, AUCKLAND]).centre[0] < 180


@pytest.mark.parametrize("km", [511.0, 1_499.0])
def test_a_ring_is_a_geodesic_circle(km: float) -> None:
    """Every corner is as far away as light gets, to a tenth of a kilometre."""
    found = [geodesic_distance_km(site(FRANKFURT), site(corner)) for corner in trace_ring(ring(km))]

    assert found == pytest.approx([km] * len(found), abs=0.1)


def test_the_sign_of_a_line_stands_half_way() -> None:
    """As far from the one end as from the other, along the geodesic."""
    half = find_midpoint(Edge(start=FRANKFURT, end=NEW_YORK, state="good", tooltip="", href=""))

    ends = [geodesic_distance_km(site(half), site(end)) for end in (FRANKFURT, NEW_YORK)]
    assert ends[0] == pytest.approx(ends[1], abs=0.2)
    assert sum(ends) == pytest.approx(geodesic_distance_km(site(FRANKFURT), site(NEW_YORK)), abs=0.2)


def test_the_smallest_ring_is_whole_and_one_outside_has_no_label() -> None:
    """A label that hangs in nothing would say a wrong distance."""
    spec = build_site_map([spot(FRANKFURT), spot(ZURICH, "b")], [], [ring(511), ring(9_000)], "text")

    assert {one["label"] for one in data(spec, "labels")} == {"511 km"}
    assert len(data(spec, "rings")) == 2


def test_spots_on_each_other_share_a_name() -> None:
    """The others keep their dot and their link."""
    spots = [spot(FRANKFURT, "a"), spot((8.69, 50.11), "b"), spot(NEW_YORK, "c")]

    spec = build_site_map(spots, [], [], "text")

    assert [one["href"] for one in data(spec, "spots")] == ["/map?reach=a", "/map?reach=b", "/map?reach=c"]
    assert [one["label"] for one in data(spec, "names") if one["least"] == 0] == ["a · b", "c"]


@given(st.lists(places, min_size=1, max_size=12, unique=True))
def test_no_name_covers_another_or_is_cut_off(found: list[tuple[float, float]]) -> None:
    """On no sheet, wherever the sites are."""
    view = fit_viewport(found)
    names = [Marker(position=place, label=f"site-{number}", tooltip="", href="") for number, place in enumerate(found)]

    rows, _ = place_labels(view, names, [], [])

    for (width, height), least in zip(CANVAS_SIZES, [0, *(width for width, _ in CANVAS_SIZES[1:])], strict=True):
        boxes = [
            extent(view.to_pixel((row["x"], row["y"]), width, height), row) for row in rows if row["least"] == least
        ]
        assert all(left >= 0 and right <= width and top >= 0 and low <= height for left, top, right, low in boxes)
        for number, one in enumerate(boxes):
            assert not any(meet(one, other) for other in boxes[:number])


def extent(pixel: tuple[float, float], row: Any) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a name in 12.5 px bold letters, of which the widest here has 7 px."""
    x, y, width = pixel[0] + row["dx"], pixel[1] + row["dy"], 7 * len(row["label"])
    left = x - {"left": 0, "center": width / 2, "right": width}[row["align"]]
    return left, y - 6, left + width, y + 6


def meet(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Two names have a point in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_a_continent_with_a_site_overseas_cannot_be_read_as_a_whole() -> None:
    """Frankfurt and Zurich would be one blot beside Tokyo; alone they can be told apart, and one place is no map."""
    assert has_separable_markers([FRANKFURT, ZURICH])
    assert not has_separable_markers([FRANKFURT, ZURICH, NEW_YORK, TOKYO])
    assert not has_separable_markers([FRANKFURT, FRANKFURT])


def test_a_border_is_drawn_once_and_a_coast_is_no_border() -> None:
    """Between Germany and France there is one line, and the edge of Ireland is coast."""
    edges = [
        (frozenset(edge), one.is_border) for one in coastlines.load_outlines() for edge in pairwise(one.coordinates)
    ]
    of_rhine = [is_border for edge, is_border in edges if all(7 < x < 8.3 and 48 < y < 49.2 for x, y in edge)]
    of_ireland = [is_border for edge, is_border in edges if all(-11 < x < -8.5 and 51 < y < 54 for x, y in edge)]

    assert len(edges) == len({edge for edge, _ in edges})
    assert of_rhine
    assert all(of_rhine)
    assert of_ireland
    assert not any(of_ireland)


def test_states_differ_without_colour() -> None:
    """By dash and sign together; the two kinds of impossible by their sign."""
    assert len({(str(dash), sign) for _, dash, sign in STATE_STYLES.values()}) == len(STATE_STYLES)


def test_a_single_site_is_drawn_on_some_land() -> None:
    """No division by its extent of nothing."""
    spec = build_site_map([spot(FRANKFURT)], [], [], "one site")

    assert len(data(spec, "land")) > 5
    assert spec["description"] == "one site"
    assert "NaN" not in render.render_svg(spec, 600, height=MAP_HEIGHT)


def test_the_outlines_come_with_a_package() -> None:
    """Germany's is among them, in degrees; what is far away is left out."""
    everything, near = coastlines.load_outlines(), coastlines.find_outlines(FRANKFURT, 8)

    assert len(everything) > 150
    assert 5 < len(near) < 60
    assert all(-180 <= x <= 180 and -90 <= y <= 90 for one in everything for x, y in one.coordinates)
