"""Colours of the charts, under the names of the style sheet; a test compares the two.

States use the colours of Okabe and Ito, which colour-blind readers can distinguish, and always a second mark as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Colours in specifications. Each value is unique: the browser and ``to_dark_theme`` replace colours by value.
LIGHT: Mapping[str, str] = {
    "paper": "#fff",
    "ink": "#16191c",
    "muted": "#555d66",
    "line": "#d5d9dd",
    "accent": "#005f99",
    "good": "#009e73",
    "bad": "#d55e00",
    "unavailable": "#b0558a",
    "loss": "#0072b2",
    "limit": "#a3133a",
    "unknown": "#6f7780",
    "heat-0": "#e9f3ef",
    "heat-1": "#fbe6d3",
    "heat-2": "#f4bf93",
    "heat-3": "#e58f4e",
    "heat-4": "#a84600",
    "heat-none": "#f1f2f4",
}
DARK: Mapping[str, str] = {
    "paper": "#14171a",
    "ink": "#e8eaec",
    "muted": "#a3abb3",
    "line": "#363c42",
    "accent": "#6cbcf0",
    "good": "#00a87b",
    "bad": "#e8701a",
    "unavailable": "#cc79a7",
    "loss": "#56b4e9",
    "limit": "#ff94a8",
    "unknown": "#959da5",
    "heat-0": "#1b312a",
    "heat-1": "#46301f",
    "heat-2": "#7a4a24",
    "heat-3": "#b8662a",
    "heat-4": "#f39a58",
    "heat-none": "#22262a",
}
#: CSS variable of each colour; ``static/charts.js`` replaces colours by variables.
CSS_VARIABLES: Mapping[str, str] = {colour: f"--{name}" for name, colour in LIGHT.items()}
_DARK_BY_LIGHT: Mapping[str, str] = {colour: DARK[name] for name, colour in LIGHT.items()}


def to_dark_theme(spec: Any) -> Any:
    """Return the specification with the colours for a dark background."""
    if isinstance(spec, dict):
        return {key: to_dark_theme(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [to_dark_theme(value) for value in spec]
    return _DARK_BY_LIGHT.get(spec, spec) if isinstance(spec, str) else spec
