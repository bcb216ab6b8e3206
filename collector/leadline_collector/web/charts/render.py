"""Rendering with vl-convert: charts as SVG, and the script bundle that draws them in browsers.

vl-convert contains Vega, Vega-Lite, Vega-Embed and Vega's expression interpreter: nothing is loaded from other hosts,
and pages forbid ``eval`` (``ast`` in static/charts.js).
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from functools import cache
from importlib.metadata import version

from leadline_collector.web.charts.palette import to_dark_theme
from leadline_collector.web.charts.spec_templates import Spec

#: Vega-Lite version of Altair's specifications, as named by vl-convert.
VEGA_LITE_VERSION = "6.4"
#: Higher levels take twice the time and save one per cent of the size.
_GZIP_LEVEL = 6
_bundle_lock = threading.Lock()


def render_svg(spec: Spec, width: int, *, dark: bool = False, height: int | None = None) -> str:
    """Render a specification as SVG, ``width`` pixels wide; ``height`` is for specifications without a fixed height."""
    import vl_convert

    sized_spec = {**spec, "width": width} | ({} if height is None else {"height": height})
    themed_spec = to_dark_theme(sized_spec) if dark else sized_spec
    return str(vl_convert.vegalite_to_svg(themed_spec, vl_version=VEGA_LITE_VERSION))


@cache
def bundle_version() -> str:
    """Return a hash of the versions in the bundle; computed without building the bundle."""
    import vl_convert

    parts = (
        version("vl-convert-python"),
        VEGA_LITE_VERSION,
        _BUNDLE_SOURCE,
        vl_convert.get_vega_version(),
        vl_convert.get_vega_embed_version(),
    )
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]


def build_bundle() -> bytes:
    """Return the gzip-compressed browser script; cached, the first call takes about two seconds."""
    with _bundle_lock:
        return _compress_bundle()


#: Exports the function that charts.js calls.
_BUNDLE_SOURCE = "window.vegaEmbed = vegaEmbed;"


@cache
def _compress_bundle() -> bytes:
    import vl_convert

    script = vl_convert.javascript_bundle(_BUNDLE_SOURCE, vl_version=VEGA_LITE_VERSION)
    return gzip.compress(script.encode(), _GZIP_LEVEL, mtime=0)
