"""Site map: viewport, rings, labels, outlines and states."""

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
from leadline_collector.web.charts.coastlines import LonLat
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
position_strategy = st.tuples(st.floats(-180, 180), st.floats(-85, 85))


def site(position: LonLat) -> Site:
    return Site(name="a", longitude_deg=position[0], latitude_deg=position[1])


def marker(position: LonLat, label: str = "a") -> Marker:
    return Marker(position=position, label=label, tooltip=label, href=f"/map?reach={label}")


def ring(km: float) -> RangeRing:
    """Create a ring around Frankfurt."""
    return RangeRing(centre=FRANKFURT, radius_km=km, label=f"{km:g} km", is_vacuum=False)


def dataset(spec: Any, name: str) -> list[Any]:
    """Return a data set of the specification."""
    rows: list[Any] = spec["datasets"][name]
    return rows


@given(st.lists(position_strategy, min_size=1, max_size=6))
def test_every_position_is_visible(positions: list[LonLat]) -> None:
    """Also across the date line and the poles, unless the positions span half of the globe."""
    viewport = fit_viewport(positions)
    is_near = all(hypot(*viewport.project(position)) < 1.41 for position in positions)

    pixels = [viewport.to_pixel(position, MAP_WIDTH, MAP_HEIGHT) for position in positions]

    if is_near:
        assert all(-0.01 <= x <= MAP_WIDTH + 0.01 and -0.01 <= y <= MAP_HEIGHT + 0.01 for x, y in pixels)


def test_sites_across_the_date_line_are_neighbours() -> None:
    """The map of Tokyo and Auckland is centred on the Pacific."""
    assert 130 < fit_viewport([TOKYO, AUCKLAND]).centre[0] < 180


@pytest.mark.parametrize("km", [511.0, 1_499.0])
def test_a_ring_is_a_geodesic_circle(km: float) -> None:
    """Every vertex is within a tenth of a kilometre of the radius."""
    distances_km = [geodesic_distance_km(site(FRANKFURT), site(vertex)) for vertex in trace_ring(ring(km))]

    assert distances_km == pytest.approx([km] * len(distances_km), abs=0.1)


def test_the_sign_of_a_line_is_at_its_midpoint() -> None:
    """It has the same distance from both ends, along the geodesic."""
    midpoint = find_midpoint(Edge(start=FRANKFURT, end=NEW_YORK, state="good", tooltip="", href=""))

    distances_km = [geodesic_distance_km(site(midpoint), site(end)) for end in (FRANKFURT, NEW_YORK)]
    assert distances_km[0] == pytest.approx(distances_km[1], abs=0.2)
    assert sum(distances_km) == pytest.approx(geodesic_distance_km(site(FRANKFURT), site(NEW_YORK)), abs=0.2)


def test_the_smallest_ring_is_visible_and_one_outside_has_no_label() -> None:
    """A label off its ring would be misleading."""
    spec = build_site_map([marker(FRANKFURT), marker(ZURICH, "b")], [], [ring(511), ring(9_000)], "text")

    assert {row["label"] for row in dataset(spec, "labels")} == {"511 km"}
    assert len(dataset(spec, "rings")) == 2


def test_markers_close_together_share_a_label() -> None:
    """Each keeps its dot and its link."""
    markers = [marker(FRANKFURT, "a"), marker((8.69, 50.11), "b"), marker(NEW_YORK, "c")]

    spec = build_site_map(markers, [], [], "text")

    assert [row["href"] for row in dataset(spec, "spots")] == ["/map?reach=a", "/map?reach=b", "/map?reach=c"]
    assert [row["label"] for row in dataset(spec, "names") if row["least"] == 0] == ["a · b", "c"]


@given(st.lists(position_strategy, min_size=1, max_size=12, unique=True))
def test_labels_do_not_overlap_and_are_not_cut_off(positions: list[LonLat]) -> None:
    """On every canvas size, for any positions."""
    viewport = fit_viewport(positions)
    markers = [marker(position, f"site-{number}") for number, position in enumerate(positions)]

    rows, _ = place_labels(viewport, markers, [], [])

    for (width, height), least in zip(CANVAS_SIZES, [0, *(width for width, _ in CANVAS_SIZES[1:])], strict=True):
        extents = [
            label_extent(viewport.to_pixel((row["x"], row["y"]), width, height), row)
            for row in rows
            if row["least"] == least
        ]
        assert all(
            left >= 0 and right <= width and top >= 0 and bottom <= height for left, top, right, bottom in extents
        )
        for number, extent in enumerate(extents):
            assert not any(overlap(extent, other) for other in extents[:number])


def label_extent(pixel: tuple[float, float], row: Any) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of a label in 12.5 px bold letters, at most 7 px wide here."""
    x, y, width = pixel[0] + row["dx"], pixel[1] + row["dy"], 7 * len(row["label"])
    left = x - {"left": 0, "center": width / 2, "right": width}[row["align"]]
    return left, y - 6, left + width, y + 6


def overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    """Return True if two extents share a point."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_near_sites_are_not_separable_on_a_world_map() -> None:
    """Frankfurt and Zurich are separable without Tokyo; a single position is never."""
    assert has_separable_markers([FRANKFURT, ZURICH])
    assert not has_separable_markers([FRANKFURT, ZURICH, NEW_YORK, TOKYO])
    assert not has_separable_markers([FRANKFURT, FRANKFURT])


def test_a_border_is_drawn_once_and_a_coast_is_no_border() -> None:
    """There is one line between Germany and France, and Ireland's west is coast."""
    edges = [
        (frozenset(edge), outline.is_border)
        for outline in coastlines.load_outlines()
        for edge in pairwise(outline.coordinates)
    ]
    rhine = [is_border for edge, is_border in edges if all(7 < x < 8.3 and 48 < y < 49.2 for x, y in edge)]
    ireland = [is_border for edge, is_border in edges if all(-11 < x < -8.5 and 51 < y < 54 for x, y in edge)]

    assert len(edges) == len({edge for edge, _ in edges})
    assert rhine
    assert all(rhine)
    assert ireland
    assert not any(ireland)


def test_states_differ_without_colour() -> None:
    """Each state has its own combination of dash and sign."""
    assert len({(str(dash), sign) for _, dash, sign in STATE_STYLES.values()}) == len(STATE_STYLES)


def test_a_map_of_a_single_site_shows_its_surroundings() -> None:
    """An extent of zero causes no division by zero."""
    spec = build_site_map([marker(FRANKFURT)], [], [], "one site")

    assert len(dataset(spec, "land")) > 5
    assert spec["description"] == "one site"
    assert "NaN" not in render.render_svg(spec, 600, height=MAP_HEIGHT)


def test_the_outlines_come_with_a_package() -> None:
    """Their coordinates are degrees; distant outlines are left out."""
    all_outlines, near = coastlines.load_outlines(), coastlines.find_outlines(FRANKFURT, 8)

    assert len(all_outlines) > 150
    assert 5 < len(near) < 60
    assert all(-180 <= x <= 180 and -90 <= y <= 90 for outline in all_outlines for x, y in outline.coordinates)
