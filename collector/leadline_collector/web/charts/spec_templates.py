"""Specifications without data (templates), and the function that binds data to them.

Altair takes about 60 ms to build a layered chart, too long for every request, so each template is built once per
process. Everything that depends on data is a data set or a parameter of the specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from leadline_collector.web.charts.theme import CONFIG, USERMETA

Spec: TypeAlias = dict[str, Any]
DataRow: TypeAlias = Mapping[str, Any]


def build_template(chart: Any, *, padding: Mapping[str, int]) -> Spec:
    """Return the specification of an Altair chart, as wide as its container."""
    spec: Spec = chart.properties(width="container").to_dict(validate=False)
    spec.pop("datasets", None)
    spec["config"] = CONFIG
    spec["usermeta"] = USERMETA
    spec["padding"] = dict(padding)
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return spec


def bind_data(
    spec: Spec, datasets: Mapping[str, Sequence[DataRow]], param_values: Mapping[str, object], description: str
) -> Spec:
    """Return the template with data sets and parameter values; ``description`` is the text for screen readers."""
    params = [
        {**param, "value": param_values[param["name"]]} if param["name"] in param_values else param
        for param in spec.get("params", [])
    ]
    return {
        **spec,
        "params": params,
        "datasets": {name: list(rows) for name, rows in datasets.items()},
        "description": description,
    }
