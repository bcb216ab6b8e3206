"""How things look: a state is a word, a shape and a colour of the Okabe-Ito set; units and thresholds in one place."""

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
#: State: shape and colour. The order is that of ``grafana_state.severity``.
STATE_STYLES = {"good": ("●", GREEN), "bad": ("■", VERMILION), "unavailable": ("✕", PURPLE), "unknown": ("○", GREY)}
#: What is appended to a state of a pair that nobody measured.
SIMULATED_SUFFIX = " (simulated)"

MICROSECONDS, SECONDS, RATIO, BYTES, KM = "µs", "s", "percentunit", "bytes", "lengthkm"


def build_state_mappings() -> list[ValueMapping]:
    """Words to words with a shape and a colour; the simulated ones say so."""
    results = {
        f"{state}{suffix}": ValueMappingResult(text=f"{shape} {state}{suffix}", color=colour, index=number)
        for suffix in ("", SIMULATED_SUFFIX)
        for number, (state, (shape, colour)) in enumerate(STATE_STYLES.items())
    }
    return [ValueMap(options=results)]


def build_severity_mappings() -> list[ValueMapping]:
    """The same for the number of a state, which is what a timeline draws."""
    return [
        ValueMap(
            options={
                str(number): ValueMappingResult(text=f"{shape} {state}", color=colour, index=number)
                for number, (state, (shape, colour)) in enumerate(STATE_STYLES.items())
            }
        )
    ]


def build_yes_no_mappings(yes: str, no: str) -> list[ValueMapping]:
    """Words for a boolean."""
    options = {"true": ValueMappingResult(text=yes, index=0), "false": ValueMappingResult(text=no, index=1)}
    return [ValueMap(options=options)]


def build_thresholds(base: str, *steps: tuple[float, str]) -> ThresholdsConfig:
    """A colour, and others from certain values on."""
    values = [Threshold(value=None, color=base), *(Threshold(value=value, color=colour) for value, colour in steps)]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(values)


def colour_prop(colour: str) -> DynamicConfigValue:
    """The property that paints a series."""
    return prop("color", FieldColor(mode=FieldColorModeId.FIXED, fixed_color=colour))


def prop(name: str, value: object) -> DynamicConfigValue:
    """A property of an override."""
    return DynamicConfigValue(id_val=name, value=value)
