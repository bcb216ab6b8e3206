"""Site map: coastlines, sites, one line per pair, and rings of the distance reachable at the speed of light.

Rule 1: each state has a colour, a dash pattern and a sign on its line; pairs that were not evaluated are grey.
Rule 2: rings are geodesic circles: an upper bound of the distance in fibre and in a vacuum, not a guarantee.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from geographiclib.geodesic import Geodesic

from leadline_collector.web.charts import coastlines
from leadline_collector.web.charts.coastlines import LonLat
from leadline_collector.web.charts.map_labels import Marker, RingLabel, place_labels
from leadline_collector.web.charts.palette import LIGHT
from leadline_collector.web.charts.projection import Viewport, fit_viewport
from leadline_collector.web.charts.spec_templates import DataRow, Spec, bind_data, build_template

#: Size of the SVG image; in a page, the style sheet sets the size.
MAP_WIDTH, MAP_HEIGHT = 1_180, 520
RING_POINTS = 90
#: Possible positions of a label on its ring, in degrees from north, best first.
_LABEL_BEARINGS = (0, 180, 30, 330, 150, 210, 15, 345, 60, 300, 45, 315, 120, 240, 75, 285, 105, 255, 90, 270)
#: Signs of the pages as paths in a square from -1 to 1; holes have the opposite direction.
_RING_PATH = "M-1,0A1,1,0,1,1,1,0A1,1,0,1,1,-1,0ZM-.45,0A.45,.45,0,1,0,.45,0A.45,.45,0,1,0,-.45,0Z"
_FRAME_PATH = "M-1,-1H1V1H-1ZM-.62,-.62V-.15H.62V-.62ZM-.62,.15V.62H.62V.15Z"
_CROSS_PATH = "M-1,-.62L-.62,-1L0,-.38L.62,-1L1,-.62L.38,0L1,.62L.62,1L0,.38L-.62,1L-1,.62L-.38,0Z"
_BARRED_SQUARE_PATH = "M-1,-1H1V1H-1ZM-.7,-.17V.17H.7V-.17Z"
_BARRED_RING_PATH = f"{_RING_PATH}M-.95,.67L.67,-.95L.95,-.67L-.67,.95Z"
#: Colour, dash pattern and sign of each state.
STATE_STYLES: dict[str, tuple[str, list[int], str]] = {
    "good": (LIGHT["good"], [1, 0], "circle"),
    "bad": (LIGHT["bad"], [9, 4], "square"),
    "unavailable": (LIGHT["unavailable"], [3, 4], _CROSS_PATH),
    "unknown": (LIGHT["unknown"], [1, 4], _RING_PATH),
    "impossible": (LIGHT["ink"], [9, 3, 1, 3], _BARRED_SQUARE_PATH),
    "impossible on glass": (LIGHT["ink"], [9, 3, 1, 3], _FRAME_PATH),
    "invalid": (LIGHT["ink"], [1, 6], _BARRED_RING_PATH),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Line between two sites; ``state`` is a key of ``STATE_STYLES``."""

    start: LonLat
    end: LonLat
    state: str
    tooltip: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeRing:
    """Circle of the distance reachable from ``centre``, in fibre or in a vacuum."""

    centre: LonLat
    radius_km: float
    label: str
    is_vacuum: bool


def build_site_map(
    markers: Sequence[Marker], edges: Sequence[Edge], rings: Sequence[RangeRing], description: str
) -> Spec:
    """Build the map; at least one marker. It shows all markers and the whole of the smallest ring, if any."""
    positions = [marker.position for marker in markers]
    if rings:
        positions += trace_ring(min(rings, key=lambda ring: ring.radius_km))
    viewport = fit_viewport(positions)
    outlines = coastlines.find_outlines(viewport.centre, viewport.radius_deg(MAP_WIDTH, MAP_HEIGHT) + 12)
    midpoints = [(edge, find_midpoint(edge)) for edge in edges]
    marker_labels, ring_labels = place_labels(
        viewport,
        markers,
        [_to_ring_label(ring) for ring in rings],
        [(edge.start, midpoint, edge.end) for edge, midpoint in midpoints],
    )
    data: dict[str, list[DataRow]] = {
        "land": [_to_line_feature(outline.coordinates) | {"border": outline.is_border} for outline in outlines],
        "rings": [_to_line_feature(trace_ring(ring)) | {"best": ring.is_vacuum} for ring in rings],
        "links": [_to_edge_row(edge) for edge in edges],
        "signs": [_to_sign_row(edge, midpoint) for edge, midpoint in midpoints],
        "spots": [
            {"x": marker.position[0], "y": marker.position[1], "tip": marker.tooltip, "href": marker.href}
            for marker in markers
        ],
        "names": marker_labels,
        "labels": ring_labels,
    }
    return {**bind_data(_build_spec(), data, {}, description), "projection": _build_projection(viewport)}


def trace_ring(ring: RangeRing) -> list[LonLat]:
    """Return the vertices of a geodesic circle; the last equals the first."""
    bearings = [360 * index / RING_POINTS for index in range(RING_POINTS)]
    vertices = [_find_destination(ring.centre, bearing, ring.radius_km) for bearing in bearings]
    return [*vertices, vertices[0]]


def find_midpoint(edge: Edge) -> LonLat:
    """Return the midpoint of the geodesic between the two sites."""
    geodesic = Geodesic.WGS84.Inverse(edge.start[1], edge.start[0], edge.end[1], edge.end[0])
    return _find_destination(edge.start, geodesic["azi1"], geodesic["s12"] / 2_000)


def _find_destination(position: LonLat, bearing: float, km: float) -> LonLat:
    end = Geodesic.WGS84.Direct(position[1], position[0], bearing, km * 1_000)
    return round(end["lon2"], 3), round(end["lat2"], 3)


def _to_line_feature(coordinates: Iterable[LonLat]) -> dict[str, Any]:
    return {
        "type": "Feature",
        "geometry": {"type": "LineString", "coordinates": [list(position) for position in coordinates]},
    }


def _to_edge_row(edge: Edge) -> DataRow:
    """Return a feature with its properties beside the geometry, where Vega-Lite reads fields."""
    return _to_line_feature([edge.start, edge.end]) | {"state": edge.state, "tip": edge.tooltip, "href": edge.href}


def _to_ring_label(ring: RangeRing) -> RingLabel:
    positions = [_find_destination(ring.centre, bearing, ring.radius_km) for bearing in _LABEL_BEARINGS]
    return RingLabel(centre=ring.centre, label=ring.label, positions=positions)


def _to_sign_row(edge: Edge, midpoint: LonLat) -> DataRow:
    return {"x": midpoint[0], "y": midpoint[1], "state": edge.state, "tip": edge.tooltip, "href": edge.href}


def _build_projection(viewport: Viewport) -> dict[str, Any]:
    """Return a Vega-Lite projection that fits the viewport into a canvas of any size."""
    scale_per_width, scale_per_height = viewport.scale(1, 1e9), viewport.scale(1e9, 1)
    scale = f"min(width * {scale_per_width:.6g}, height * {scale_per_height:.6g})"
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
    colours, dashes, signs = zip(*STATE_STYLES.values(), strict=True)
    colour = alt.Color("state:N", scale=alt.Scale(domain=states, range=list(colours)), legend=None)
    dash = alt.StrokeDash("state:N", scale=alt.Scale(domain=states, range=list(dashes)), legend=None)
    sign = alt.Shape("state:N", scale=alt.Scale(domain=states, range=list(signs)), legend=None)
    tip, href = alt.Tooltip("tip:N"), alt.Href("href:N")
    position = {"longitude": "x:Q", "latitude": "y:Q"}

    def named_data(name: str) -> Any:
        return alt.Chart(alt.NamedData(name))

    spots, names, labels = named_data("spots"), named_data("names"), named_data("labels")
    outline = {"filled": False, "clip": True}
    dot = {"filled": True, "opacity": 1}
    label_expr = "width >= datum.least && width < datum.most ? datum.label : ''"
    label_mark = {name: alt.expr(f"datum.{name}") for name in ("align", "dx", "dy")} | {"text": alt.expr(label_expr)}
    bold = {"fontSize": 12.5, "fontWeight": "bold"}
    halo = {"stroke": LIGHT["paper"], "strokeJoin": "round"}
    chart = alt.layer(
        *(
            named_data("land")
            .transform_filter(f"datum.border == {str(is_border).lower()}")
            .mark_geoshape(**outline, stroke=LIGHT["unknown"], strokeOpacity=opacity, strokeWidth=width)
            for is_border, opacity, width in ((True, 0.3, 0.6), (False, 0.7, 0.8))
        ),
        named_data("rings")
        .mark_geoshape(**outline, stroke=LIGHT["accent"], strokeWidth=1)
        .encode(strokeDash=alt.condition("datum.best", alt.value([1, 4]), alt.value([5, 3]))),
        named_data("links").mark_geoshape(**outline, stroke=LIGHT["paper"], strokeWidth=4.5, strokeOpacity=0.85),
        named_data("links")
        .mark_geoshape(**outline, strokeWidth=2, cursor="pointer")
        .encode(stroke=colour, strokeDash=dash, tooltip=tip, href=href),
        named_data("signs").mark_point(**dot, shape="circle", size=260, color=LIGHT["paper"]).encode(**position),
        named_data("signs")
        .mark_point(**dot, size=110, cursor="pointer")
        .encode(**position, color=colour, shape=sign, tooltip=tip, href=href),
        spots.mark_point(**dot, shape="circle", size=150, color=LIGHT["paper"]).encode(**position),
        spots.mark_point(**dot, shape="circle", size=58, color=LIGHT["ink"]).encode(**position, tooltip=tip, href=href),
        labels.mark_text(**halo, fontSize=11, strokeWidth=5, text=alt.expr(label_expr)).encode(**position),
        labels.mark_text(fontSize=11, color=LIGHT["accent"], text=alt.expr(label_expr)).encode(**position),
        names.mark_text(**halo, **bold, **label_mark, strokeWidth=3.5).encode(**position),
        names.mark_text(**bold, **label_mark, color=LIGHT["ink"]).encode(**position, tooltip=tip, href=href),
    )
    chart = chart.resolve_scale(strokeDash="independent").properties(
        height="container", view=alt.ViewBackground(stroke=LIGHT["line"], fill=None)
    )
    spec = build_template(chart, padding={"left": 1, "right": 1, "top": 1, "bottom": 1})
    return spec | {"autosize": {"type": "fit", "contains": "padding"}}
