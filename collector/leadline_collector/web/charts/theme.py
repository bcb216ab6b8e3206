"""Common style of all charts: light axes, one font family, no frame."""

from __future__ import annotations

from typing import Any

from leadline_collector.web.charts.palette import CSS_VARIABLES, LIGHT

FONT_FAMILY = "system-ui, -apple-system, Segoe UI, Noto Sans, Liberation Sans, DejaVu Sans, sans-serif"

#: Vega-Lite configuration.
CONFIG: dict[str, Any] = {
    "background": "transparent",
    "font": FONT_FAMILY,
    "view": {"stroke": None},
    "axis": {
        "domainColor": LIGHT["line"],
        "gridColor": LIGHT["line"],
        "gridOpacity": 0.7,
        "tickColor": LIGHT["line"],
        "labelColor": LIGHT["muted"],
        "labelFontSize": 11.5,
        "titleColor": LIGHT["muted"],
        "titleFontSize": 11.5,
        "titleFontWeight": "normal",
        "labelPadding": 5,
    },
    "legend": {"labelColor": LIGHT["ink"], "labelFontSize": 11.5, "symbolStrokeWidth": 2},
    "text": {"color": LIGHT["ink"], "fontSize": 11.5},
}
#: Data for charts.js: the CSS variable of each colour.
USERMETA: dict[str, Any] = {"variables": dict(CSS_VARIABLES)}
