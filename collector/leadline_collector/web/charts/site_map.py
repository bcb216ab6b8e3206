"""The map of the sites: outlines of the land, the sites, a line for each pair of them, and how far light gets.

Rule 1: a state has a colour, a dash and a sign on its line; what was not judged is grey.
Rule 2: rings are geodesic circles: what light in glass and in a vacuum can reach at best, and no promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from geographiclib.geodesic import Geodesic

from leadline_collector.web.charts import coastlines
from leadline_collector.web.charts.coastlines import Place
from leadline_collector.web.charts.map_labels import Name, RingName, placed
from leadline_collector.web.charts.palette import LIGHT
from leadline_collector.web.charts.projection import View, view_of
from leadline_collector.web.charts.spec_templates import Row, Spec, filled, template

#: Of the picture; in a page the style sheet says how large the map is.
WIDTH, HEIGHT = 1_180, 520
RING_CORNERS = 90
#: Where on a ring its label may stand, in degrees from north.
_BEARINGS = (0, 180, 30, 330, 150, 210, 15, 345, 60, 300, 45, 315, 120, 240, 75, 285, 105, 255, 90, 270)
#: Signs of the pages as paths in a square from -1 to 1; a hole runs the other way round.
_RING = "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0ZM-.45,0A.45,.45,0,1,0,.45,0A.45,.45,0,1,0,-.45,0Z"
_FRAME = "M-1,-1H1V1H-1ZM-.62,-.62V-.15H.62V-.62ZM-.62,.15V.62H.62V.15Z"
_CROSS = "M-1,-.62L-.62,-1L0,-.38L.62,-1L1,-.62L.38,0L1,.62L.62,1L0,.38L-.62,1L-1,.62L-.38,0Z"
_BARRED = "M-1,-1H1V1H-1ZM-.7,-.17V.17H.7V-.17Z"
#: State: colour, dash and sign of its line.
LOOKS: dict[str, tuple[str, list[int], str]] = {
    "good": (LIGHT["good"], [1, 0], "circle"),
    "bad": (LIGHT["bad"], [9, 4], "square"),
    "unavailable": (LIGHT["unavailable"], [3, 4], _CROSS),
    "unknown": (LIGHT["unknown"], [1, 4], _RING),
    "impossible": (LIGHT["ink"], [9, 3, 1, 3], _BARRED),
    "impossible on glass": (LIGHT["ink"], [9, 3, 1, 3], _FRAME),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """One or several sites at one place."""

    place: Place
    label: str
    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The line between two sites; ``state`` is a key of ``LOOKS``."""

    start: Place
    end: Place
    state: str
    text: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """What can be reached from a place; ``is_best`` for a vacuum."""

    centre: Place
    km: float
    label: str
    is_best: bool


def site_map(spots: Sequence[Spot], links: Sequence[Link], rings: Sequence[Ring], text: str) -> Spec:
    """The map; at least one spot. It shows all spots and, if there are rings, the whole of the smallest."""
    seen = [spot.place for spot in spots]
    if rings:
        seen += circle(min(rings, key=lambda ring: ring.km))
    view = view_of(seen)
    outlines = coastlines.near(view.centre, view.radius_deg(WIDTH, HEIGHT) + 12)
    halves = [(link, middle(link)) for link in links]
    names, ring_names = placed(
        view,
        [Name(place=spot.place, label=spot.label, text=spot.text, href=spot.href) for spot in spots],
        [_ring_name(ring) for ring in rings],
        [(link.start, half, link.end) for link, half in halves],
    )
    data: dict[str, list[Row]] = {
        "land": [_line(outline.places) | {"border": outline.is_border} for outline in outlines],
        "rings": [_line(circle(ring)) | {"best": ring.is_best} for ring in rings],
        "links": [_link(link) for link in links],
        "signs": [_sign(link, half) for link, half in halves],
        "spots": [_spot(spot) for spot in spots],
        "names": names,
        "labels": ring_names,
    }
    return {**filled(_template(), data, {}, text), "projection": _projection(view)}


def circle(ring: Ring) -> list[Place]:
    """The corners of a geodesic circle, closed."""
    bearings = [360 * number / RING_CORNERS for number in range(RING_CORNERS)]
    corners = [_towards(ring.centre, bearing, ring.km) for bearing in bearings]
    return [*corners, corners[0]]


def middle(link: Link) -> Place:
    """Half way along the geodesic."""
    way = Geodesic.WGS84.Inverse(link.start[1], link.start[0], link.end[1], link.end[0])
    return _towards(link.start, way["azi1"], way["s12"] / 2_000)


def _towards(place: Place, bearing: float, km: float) -> Place:
    end = Geodesic.WGS84.Direct(place[1], place[0], bearing, km * 1_000)
    return round(end["lon2"], 3), round(end["lat2"], 3)


def _line(places: Iterable[Place]) -> dict[str, Any]:
    return {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [list(place) for place in places]}}


def _link(link: Link) -> Row:
    """Properties stand beside the geometry, where Vega-Lite looks for fields."""
    return _line([link.start, link.end]) | {"state": link.state, "tip": link.text, "href": link.href}


def _spot(spot: Spot) -> Row:
    return {"x": spot.place[0], "y": spot.place[1], "tip": spot.text, "href": spot.href}


def _ring_name(ring: Ring) -> RingName:
    places = [_towards(ring.centre, bearing, ring.km) for bearing in _BEARINGS]
    return RingName(centre=ring.centre, label=ring.label, places=places)


def _sign(link: Link, half: Place) -> Row:
    return {"x": half[0], "y": half[1], "state": link.state, "tip": link.text, "href": link.href}


def _projection(view: View) -> dict[str, Any]:
    """The same part of the globe on a sheet of any width."""
    full = view.scale(1, 1e9), view.scale(1e9, 1)
    scale = f"min(width * {full[0]:.6g}, height * {full[1]:.6g})"
    return {
        "type": "azimuthalEqualArea",
        "rotate": [round(-view.centre[0], 4), round(-view.centre[1], 4), 0],
        "scale": {"expr": scale},
        "translate": {"expr": f"[width / 2 - {scale} * {view.x:.6g}, height / 2 + {scale} * {view.y:.6g}]"},
        "clipAngle": 179,
    }


@cache
def _template() -> Spec:
    import altair as alt

    states = list(LOOKS)
    colour = alt.Color("state:N", scale=alt.Scale(domain=states, range=[LOOKS[one][0] for one in states]), legend=None)
    dash = alt.StrokeDash(
        "state:N", scale=alt.Scale(domain=states, range=[LOOKS[one][1] for one in states]), legend=None
    )
    sign = alt.Shape("state:N", scale=alt.Scale(domain=states, range=[LOOKS[one][2] for one in states]), legend=None)
    tip, href = alt.Tooltip("tip:N"), alt.Href("href:N")
    at = {"longitude": "x:Q", "latitude": "y:Q"}

    def data(name: str) -> Any:
        return alt.Chart(alt.NamedData(name))

    spots, names, labels = data("spots"), data("names"), data("labels")
    outlines = {"filled": False, "clip": True}
    dots = {"filled": True, "opacity": 1}
    shown = "width >= datum.least && width < datum.most ? datum.label : ''"
    written = {name: alt.expr(f"datum.{name}") for name in ("align", "dx", "dy")} | {"text": alt.expr(shown)}
    bold = {"fontSize": 12.5, "fontWeight": "bold"}
    halo = {"stroke": LIGHT["paper"], "strokeJoin": "round"}
    chart = alt.layer(
        *(
            data("land")
            .transform_filter(f"datum.border == {str(is_border).lower()}")
            .mark_geoshape(**outlines, stroke=LIGHT["unknown"], strokeOpacity=opacity, strokeWidth=width)
            for is_border, opacity, width in ((True, 0.3, 0.6), (False, 0.7, 0.8))
        ),
        data("rings")
        .mark_geoshape(**outlines, stroke=LIGHT["accent"], strokeWidth=1)
        .encode(strokeDash=alt.condition("datum.best", alt.value([1, 4]), alt.value([5, 3]))),
        data("links").mark_geoshape(**outlines, stroke=LIGHT["paper"], strokeWidth=4.5, strokeOpacity=0.85),
        data("links")
        .mark_geoshape(**outlines, strokeWidth=2, cursor="pointer")
        .encode(stroke=colour, strokeDash=dash, tooltip=tip, href=href),
        data("signs").mark_point(**dots, shape="circle", size=260, color=LIGHT["paper"]).encode(**at),
        data("signs")
        .mark_point(**dots, size=110, cursor="pointer")
        .encode(**at, color=colour, shape=sign, tooltip=tip, href=href),
        spots.mark_point(**dots, shape="circle", size=150, color=LIGHT["paper"]).encode(**at),
        spots.mark_point(**dots, shape="circle", size=58, color=LIGHT["ink"]).encode(**at, tooltip=tip, href=href),
        labels.mark_text(**halo, fontSize=11, strokeWidth=5, text=alt.expr(shown)).encode(**at),
        labels.mark_text(fontSize=11, color=LIGHT["accent"], text=alt.expr(shown)).encode(**at),
        names.mark_text(**halo, **bold, **written, strokeWidth=3.5).encode(**at),
        names.mark_text(**bold, **written, color=LIGHT["ink"]).encode(**at, tooltip=tip, href=href),
    )
    chart = chart.resolve_scale(strokeDash="independent").properties(
        height="container", view=alt.ViewBackground(stroke=LIGHT["line"], fill=None)
    )
    made = template(chart, padding={"left": 1, "right": 1, "top": 1, "bottom": 1})
    return made | {"autosize": {"type": "fit", "contains": "padding"}}
