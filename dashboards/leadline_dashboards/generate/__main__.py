"""Write the dashboards and alert rules into the package (``make dashboards``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from leadline_dashboards.generate import alerts, fleet, overview
from leadline_dashboards.generate import pair as generate_pair

PACKAGE_DIR = Path(__file__).parents[1]
#: Schema of the oldest supported Grafana, 11.0. Newer versions convert it on load.
SCHEMA_VERSION = 39


def generate_files() -> dict[str, str]:
    """Return every generated file by its path in the package."""
    builders = {"overview": overview.build_overview(), "pair": generate_pair.build_pair(), "fleet": fleet.build_fleet()}
    documents: dict[str, Any] = {"provisioning/alerting/leadline.json": alerts.build_document()}
    for name, builder in builders.items():
        dashboard = builder.build()
        dashboard.schema_version = SCHEMA_VERSION
        documents[f"json/leadline-{name}.json"] = dashboard
    return {
        path: json.dumps(document, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
        for path, document in documents.items()
    }


def main() -> None:
    """Write all generated files."""
    for path, text in generate_files().items():
        (PACKAGE_DIR / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
