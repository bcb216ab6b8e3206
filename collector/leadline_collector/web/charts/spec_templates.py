"""A specification without its data, and the way to fill it.

Altair takes some 60 ms to put a layered chart together, which no page has for each of its charts; a template is built
once in the life of the process. What depends on the data is a data set or a parameter of the specification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from leadline_collector.web.charts.theme import CONFIG, USERMETA

Spec: TypeAlias = dict[str, Any]
DataRow: TypeAlias = Mapping[str, Any]


def build_template(chart: Any, *, padding: Mapping[str, int]) -> Spec:
    """The specification of an Altair chart as wide as the place it is put in."""
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
    """The template with these data sets and values of parameters; ``text`` is what a screen reader says of it."""
    params = [
        {**one, "value": param_values[one["name"]]} if one["name"] in param_values else one
        for one in spec.get("params", [])
    ]
    return {
        **spec,
        "params": params,
        "datasets": {name: list(rows) for name, rows in datasets.items()},
        "description": description,
    }
