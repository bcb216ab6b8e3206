"""Writes the dashboards and alert rules into the package (``make dashboards``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from leadline_dashboards.generate import alerts, fleet, overview
from leadline_dashboards.generate import pair as generate_pair

PACKAGE_DIR = Path(__file__).parents[1]
#: Of the first Grafana they are for, 11.0: newer ones bring them up to date as they load.
SCHEMA_VERSION = 39


def generate_files() -> dict[str, str]:
    """Every generated file by its path in the package."""
    boards = {"overview": overview.build_overview(), "pair": generate_pair.build_pair(), "fleet": fleet.build_fleet()}
    documents: dict[str, Any] = {"provisioning/alerting/leadline.json": alerts.build_document()}
    for name, board in boards.items():
        made = board.build()
        made.schema_version = SCHEMA_VERSION
        documents[f"json/leadline-{name}.json"] = made
    return {
        path: json.dumps(document, cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"
        for path, document in documents.items()
    }


def main() -> None:
    """Write what has changed."""
    for path, text in generate_files().items():
        (PACKAGE_DIR / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
