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
from leadline_collector.web.charts.coastlines import LonLat
from leadline_collector.web.charts.map_labels import MarkerLabel, RingLabel, place_labels
from leadline_collector.web.charts.palette import LIGHT
from leadline_collector.web.charts.projection import Viewport, fit_viewport
from leadline_collector.web.charts.spec_templates import DataRow, Spec, bind_data, build_template

#: Of the picture; in a page the style sheet says how large the map is.
MAP_WIDTH, MAP_HEIGHT = 1_180, 520
RING_POINTS = 90
#: Where on a ring its label may stand, in degrees from north.
_LABEL_BEARINGS = (0, 180, 30, 330, 150, 210, 15, 345, 60, 300, 45, 315, 120, 240, 75, 285, 105, 255, 90, 270)
#: Signs of the pages as paths in a square from -1 to 1; a hole runs the other way round.
_RING_PATH = "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0ZM-.45,0A.45,.45,0,1,0,.45,0A.45,.45,0,1,0,-.45,0Z"
_FRAME_PATH = "M-1,-1H1V1H-1ZM-.62,-.62V-.15H.62V-.62ZM-.62,.15V.62H.62V.15Z"
_CROSS_PATH = "M-1,-.62L-.62,-1L0,-.38L.62,-1L1,-.62L.38,0L1,.62L.62,1L0,.38L-.62,1L-1,.62L-.38,0Z"
_BARRED_SQUARE_PATH = "M-1,-1H1V1H-1ZM-.7,-.17V.17H.7V-.17Z"
#: State: colour, dash and sign of its line.
STATE_STYLES: dict[str, tuple[str, list[int], str]] = {
    "good": (LIGHT["good"], [1, 0], "circle"),
    "bad": (LIGHT["bad"], [9, 4], "square"),
    "unavailable": (LIGHT["unavailable"], [3, 4], _CROSS_PATH),
    "unknown": (LIGHT["unknown"], [1, 4], _RING_PATH),
    "impossible": (LIGHT["ink"], [9, 3, 1, 3], _BARRED_SQUARE_PATH),
    "impossible on glass": (LIGHT["ink"], [9, 3, 1, 3], _FRAME_PATH),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One or several sites at one place."""

    position: LonLat
    label: str
    tooltip: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The line between two sites; ``state`` is a key of ``LOOKS``."""

    start: LonLat
    end: LonLat
    state: str
    tooltip: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRing:
    """What can be reached from a place; ``is_best`` for a vacuum."""

    centre: LonLat
    radius_km: float
    label: str
    is_vacuum: bool


def build_site_map(
    markers: Sequence[Marker], edges: Sequence[Edge], rings: Sequence[RangeRing], description: str
) -> Spec:
    """The map; at least one spot. It shows all spots and, if there are rings, the whole of the smallest."""
    seen = [spot.position for spot in markers]
    if rings:
        seen += trace_ring(min(rings, key=lambda ring: ring.radius_km))
    view = fit_viewport(seen)
    outlines = coastlines.find_outlines(view.centre, view.radius_deg(MAP_WIDTH, MAP_HEIGHT) + 12)
    halves = [(link, find_midpoint(link)) for link in edges]
    names, ring_names = place_labels(
        view,
        [
            MarkerLabel(position=spot.position, label=spot.label, tooltip=spot.tooltip, href=spot.href)
            for spot in markers
        ],
        [_to_ring_label(ring) for ring in rings],
        [(link.start, half, link.end) for link, half in halves],
    )
    data: dict[str, list[DataRow]] = {
        "land": [_to_line_feature(outline.coordinates) | {"border": outline.is_border} for outline in outlines],
        "rings": [_to_line_feature(trace_ring(ring)) | {"best": ring.is_vacuum} for ring in rings],
        "links": [_to_edge_row(link) for link in edges],
        "signs": [_to_sign_row(link, half) for link, half in halves],
        "spots": [_to_marker_row(spot) for spot in markers],
        "names": names,
        "labels": ring_names,
    }
    return {**bind_data(_build_spec(), data, {}, description), "projection": _build_projection(view)}


def trace_ring(ring: RangeRing) -> list[LonLat]:
    """The corners of a geodesic circle, closed."""
    bearings = [360 * number / RING_POINTS for number in range(RING_POINTS)]
    corners = [_find_destination(ring.centre, bearing, ring.radius_km) for bearing in bearings]
    return [*corners, corners[0]]


def find_midpoint(edge: Edge) -> LonLat:
    """Half way along the geodesic."""
    way = Geodesic.WGS84.Inverse(edge.start[1], edge.start[0], edge.end[1], edge.end[0])
    return _find_destination(edge.start, way["azi1"], way["s12"] / 2_000)


def _find_destination(position: LonLat, bearing: float, km: float) -> LonLat:
    end = Geodesic.WGS84.Direct(position[1], position[0], bearing, km * 1_000)
    return round(end["lon2"], 3), round(end["lat2"], 3)


def _to_line_feature(coordinates: Iterable[LonLat]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "LineString", "coordinates": [list(place) for place in coordinates]},
    }


def _to_edge_row(edge: Edge) -> DataRow:
    """Properties stand beside the geometry, where Vega-Lite looks for fields."""
    return _to_line_feature([edge.start, edge.end]) | {"state": edge.state, "tip": edge.tooltip, "href": edge.href}


def _to_marker_row(marker: Marker) -> DataRow:
    return {"x": marker.position[0], "y": marker.position[1], "tip": marker.tooltip, "href": marker.href}


def _to_ring_label(ring: RangeRing) -> RingLabel:
    places = [_find_destination(ring.centre, bearing, ring.radius_km) for bearing in _LABEL_BEARINGS]
    return RingLabel(centre=ring.centre, label=ring.label, positions=places)


def _to_sign_row(edge: Edge, midpoint: LonLat) -> DataRow:
    return {"x": midpoint[0], "y": midpoint[1], "state": edge.state, "tip": edge.tooltip, "href": edge.href}


def _build_projection(viewport: Viewport) -> dict[str, Any]:
    """The same part of the globe on a sheet of any width."""
    full = viewport.scale(1, 1e9), viewport.scale(1e9, 1)
    scale = f"min(width * {full[0]:.6g}, height * {full[1]:.6g})"
    return {
        "type": "azimuthalEqualArea",
        "rotate": [round(-viewport.centre[0], 4), round(-viewport.centre[1], 4), 0],
        "scale": {"expr": scale},
        "translate": {"expr": f"[width / 2 - {scale} * {viewport.x:.6g}, height / 2 + {scale} * {viewport.y:.6g}]"},
        "clipAngle": 179,
    }


@cache
def _build_spec() -> Spec:
    import altair as alt

    states = list(STATE_STYLES)
    colour = alt.Color(
        "state:N", scale=alt.Scale(domain=states, range=[STATE_STYLES[one][0] for one in states]), legend=None
    )
    dash = alt.StrokeDash(
        "state:N", scale=alt.Scale(domain=states, range=[STATE_STYLES[one][1] for one in states]), legend=None
    )
    sign = alt.Shape(
        "state:N", scale=alt.Scale(domain=states, range=[STATE_STYLES[one][2] for one in states]), legend=None
    )
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
    made = build_template(chart, padding={"left": 1, "right": 1, "top": 1, "bottom": 1})
    return made | {"autosize": {"type": "fit", "contains": "padding"}}
