"""Specifications drawn by vl-convert: as SVG where no script runs, and the browser's bundle that draws them in a page.

vl-convert carries Vega, Vega-Lite and Vega-Embed, with Vega's expression interpreter in it: nothing is fetched from
elsewhere, and pages forbid ``eval`` (``ast`` in static/charts.js).
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from functools import cache
from importlib.metadata import version

from leadline_collector.web.charts.palette import to_dark_theme
from leadline_collector.web.charts.spec_templates import Spec

#: Vega-Lite of the specifications: what Altair writes. A name that vl-convert knows.
VEGA_LITE_VERSION = "6.4"
#: Levels above take twice the time for a hundredth of the size.
_GZIP_LEVEL = 6
_bundle_lock = threading.Lock()


def render_svg(spec: Spec, width: int, *, dark: bool = False, height: int | None = None) -> str:
    """The drawing, ``width`` pixels wide with all that is in it; ``height`` for one that is as high as its place."""
    import vl_convert

    sized = {**spec, "width": width} | ({} if height is None else {"height": height})
    return str(vl_convert.vegalite_to_svg(to_dark_theme(sized) if dark else sized, vl_version=VEGA_LITE_VERSION))


@cache
def bundle_version() -> str:
    """Changes when the bundle does: made from the versions of what is in it, without making it."""
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
    """The browser's script, compressed with gzip; the first call takes some two seconds, others nothing."""
    with _bundle_lock:
        return _compress_bundle()


#: What charts.js calls.
_BUNDLE_SOURCE = "window.vegaEmbed = vegaEmbed;"


@cache
def _compress_bundle() -> bytes:
    import vl_convert

    script = vl_convert.javascript_bundle(_BUNDLE_SOURCE, vl_version=VEGA_LITE_VERSION)
    return gzip.compress(script.encode(), _GZIP_LEVEL, mtime=0)
