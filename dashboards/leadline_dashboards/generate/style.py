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
#: Bad states by cause: the name in ``grafana_state.cause``, the text, and the colour in timelines and charts.
CAUSE_STYLES = {
    "latency": ("bad: latency", VERMILION),
    "loss": ("bad: loss", BLUE),
    "both": ("bad: loss and latency", ORANGE),
}
#: Text and colour of each number in timelines of states and causes.
TIMELINE_STYLES = {
    "good": ("● good", GREEN),
    **{cause: (f"■ {name}", colour) for cause, (name, colour) in CAUSE_STYLES.items()},
    "outage": ("✕ unavailable", PURPLE),
    "unknown": ("○ unknown", GREY),
}
#: A reply is faster than light: the state of ``grafana_pair_now.state_now`` that replaces the measured one.
INVALID_STYLE = ("⊘", SKY)
#: Suffixes of the state of a pair with simulated or imported minutes.
SIMULATED_SUFFIX, IMPORTED_SUFFIX = " (simulated)", " (imported)"

MICROSECONDS, SECONDS, RATIO, BYTES, KM = "µs", "s", "percentunit", "bytes", "lengthkm"


def build_state_mappings() -> list[ValueMapping]:
    """Map states to text with shape and colour, also bad states with their cause, invalid pairs, and suffixes."""
    bad_shape, bad_colour = STATE_STYLES["bad"]
    styles = STATE_STYLES | {name: (bad_shape, bad_colour) for name, _ in CAUSE_STYLES.values()}
    styles |= {"invalid": INVALID_STYLE}
    results = {
        f"{state}{suffix}": ValueMappingResult(text=f"{shape} {state}{suffix}", color=colour, index=number)
        for suffix in ("", SIMULATED_SUFFIX, IMPORTED_SUFFIX)
        for number, (state, (shape, colour)) in enumerate(styles.items())
    }
    return [ValueMap(options=results)]


def build_timeline_mappings() -> list[ValueMapping]:
    """Map the numbers of ``TIMELINE_STYLES`` to text with shape and colour."""
    return [
        ValueMap(
            options={
                str(number): ValueMappingResult(text=text, color=colour, index=number)
                for number, (text, colour) in enumerate(TIMELINE_STYLES.values())
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
