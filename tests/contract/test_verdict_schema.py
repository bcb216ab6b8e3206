"""The schema of the verdict's document, as other programs read it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from leadline_verdict.document import VerdictDocument

ROOT = Path(__file__).parents[2]


@pytest.mark.source_tree
def test_the_published_schema_is_that_of_the_document() -> None:
    """docs/verdict.schema.json; write it anew with `make schema`."""
    published = msgspec.json.decode((ROOT / "docs" / "verdict.schema.json").read_bytes())

    assert published == msgspec.json.schema(VerdictDocument)
