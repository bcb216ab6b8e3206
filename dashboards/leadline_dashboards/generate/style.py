"""Styles: text, shape and colour (Okabe-Ito palette) of each state, units and thresholds."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    FieldColor,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)

GREEN, VERMILION, PURPLE, GREY = "#009E73", "#D55E00", "#CC79A7", "#7F7F7F"
ORANGE, BLUE, SKY, TRANSPARENT = "#E69F00", "#0072B2", "#56B4E9", "transparent"
#: Shape and colour by state, in the order of ``grafana_state.severity``.
STATE_STYLES = {"good": ("●", GREEN), "bad": ("■", VERMILION), "unavailable": ("✕", PURPLE), "unknown": ("○", GREY)}
#: Suffix of the state of a simulated pair.
SIMULATED_SUFFIX = " (simulated)"

MICROSECONDS, SECONDS, RATIO, BYTES, KM = "µs", "s", "percentunit", "bytes", "lengthkm"


def build_state_mappings() -> list[ValueMapping]:
    """Map states to text with shape and colour, also for simulated pairs."""
    results = {
        f"{state}{suffix}": ValueMappingResult(text=f"{shape} {state}{suffix}", color=colour, index=number)
        for suffix in ("", SIMULATED_SUFFIX)
        for number, (state, (shape, colour)) in enumerate(STATE_STYLES.items())
    }
    return [ValueMap(options=results)]


def build_severity_mappings() -> list[ValueMapping]:
    """Map state numbers, as drawn by a timeline, to text with shape and colour."""
    return [
        ValueMap(
            options={
                str(number): ValueMappingResult(text=f"{shape} {state}", color=colour, index=number)
                for number, (state, (shape, colour)) in enumerate(STATE_STYLES.items())
            }
        )
    ]


def build_yes_no_mappings(yes: str, no: str) -> list[ValueMapping]:
    """Map a boolean to two texts."""
    options = {"true": ValueMappingResult(text=yes, index=0), "false": ValueMappingResult(text=no, index=1)}
    return [ValueMap(options=options)]


def build_thresholds(base: str, *steps: tuple[float, str]) -> ThresholdsConfig:
    """Return thresholds: a base colour, and other colours from given values."""
    values = [Threshold(value=None, color=base), *(Threshold(value=value, color=colour) for value, colour in steps)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(values)


def colour_prop(colour: str) -> DynamicConfigValue:
    """Return the property that sets the colour of a series."""
    return prop("color", FieldColor(mode=FieldColorModeId.FIXED, fixed_color=colour))


def prop(name: str, value: object) -> DynamicConfigValue:
    """Return a property of an override."""
    return DynamicConfigValue(id_val=name, value=value)
