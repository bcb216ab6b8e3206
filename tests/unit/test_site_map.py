"""The drawing of the map: what is on the sheet, where, and how it is told apart."""

from __future__ import annotations

from math import hypot
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.model import Site
from leadline.physics import distance_km
from leadline_collector.charts import land, render
from leadline_collector.charts.map import HEIGHT, LOOKS, WIDTH, Link, Ring, Spot, circle, middle, site_map
from leadline_collector.charts.sphere import view_of

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


def spot(place: tuple[float, float], label: str = "a") -> Spot:
    """A spot there."""
    return Spot(place=place, label=label, text=label, href=f"/map?reach={label}")


def ring(km: float) -> Ring:
    """A ring around Frankfurt."""
    return Ring(centre=FRANKFURT, km=km, label=f"{km:g} km", is_best=False)


def data(spec: Any, name: str) -> list[Any]:
    """A data set of the drawing."""
    rows: list[Any] = spec["datasets"][name]
    return rows


@given(st.lists(places, min_size=1, max_size=6))
def test_every_place_is_on_the_sheet(found: list[tuple[float, float]]) -> None:
    """Wherever they are, on both sides of the date line and of the poles, unless they span half of the globe."""
    view = view_of(found)
    is_near = all(hypot(*view.project(place)) < 1.41 for place in found)

    pixels = [view.pixel(place, WIDTH, HEIGHT) for place in found]

    if is_near:
        assert all(-0.01 <= x <= WIDTH + 0.01 and -0.01 <= y <= HEIGHT + 0.01 for x, y in pixels)


def test_sites_across_the_date_line_are_neighbours() -> None:
    """Tokyo and Auckland do not lie at the two ends of a sheet: the map turns to the Pacific."""
    assert 130 < view_of([TOKYO, AUCKLAND]).centre[0] < 180


@pytest.mark.parametrize("km", [511.0, 1_499.0])
def test_a_ring_is_a_geodesic_circle(km: float) -> None:
    """Every corner is as far away as light gets, to a tenth of a kilometre."""
    found = [distance_km(site(FRANKFURT), site(corner)) for corner in circle(ring(km))]

    assert found == pytest.approx([km] * len(found), abs=0.1)


def test_the_sign_of_a_line_stands_half_way() -> None:
    """As far from the one end as from the other, along the geodesic."""
    half = middle(Link(start=FRANKFURT, end=NEW_YORK, state="good", text="", href=""))

    ends = [distance_km(site(half), site(end)) for end in (FRANKFURT, NEW_YORK)]
    assert ends[0] == pytest.approx(ends[1], abs=0.2)
    assert sum(ends) == pytest.approx(distance_km(site(FRANKFURT), site(NEW_YORK)), abs=0.2)


def test_the_smallest_ring_is_whole_and_one_outside_has_no_label() -> None:
    """A label that hangs in nothing would say a wrong distance."""
    spec = site_map([spot(FRANKFURT), spot(ZURICH, "b")], [], [ring(511), ring(9_000)], "text")

    assert [one["label"] for one in data(spec, "labels")] == ["511 km"]
    assert len(data(spec, "rings")) == 2


def test_spots_on_each_other_share_a_label() -> None:
    """The others keep their dot and their link."""
    spots = [spot(FRANKFURT, "a"), spot((8.69, 50.11), "b"), spot(NEW_YORK, "c")]

    found = [(one["label"], one["href"]) for one in data(site_map(spots, [], [], "text"), "spots")]

    assert found == [("a · b", "/map?reach=a"), ("", "/map?reach=b"), ("c", "/map?reach=c")]


def test_states_differ_without_colour() -> None:
    """By dash and sign together; the two kinds of impossible by their sign."""
    assert len({(str(dash), sign) for _, dash, sign in LOOKS.values()}) == len(LOOKS)


def test_a_single_site_is_drawn_on_some_land() -> None:
    """No division by its extent of nothing."""
    spec = site_map([spot(FRANKFURT)], [], [], "one site")

    assert len(data(spec, "land")) > 5
    assert spec["description"] == "one site"
    assert "NaN" not in render.svg(spec, 600)


def test_the_outlines_come_with_a_package() -> None:
    """Germany's is among them, in degrees; what is far away is left out."""
    everything, near = land.outlines(), land.near(FRANKFURT, 8)

    assert len(everything) > 150
    assert 5 < len(near) < 40
    assert all(-180 <= x <= 180 and -90 <= y <= 90 for line, _ in everything for x, y in line)
