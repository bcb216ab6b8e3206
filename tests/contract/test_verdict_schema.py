"""Test of the published schema of the verdict document."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from leadline_verdict.document import VerdictDocument

ROOT = Path(__file__).parents[2]


@pytest.mark.source_tree
def test_the_published_schema_matches_the_document() -> None:
    """``make schema`` writes docs/verdict.schema.json."""
    published = msgspec.json.decode((ROOT / "docs" / "verdict.schema.json").read_bytes())

    assert published == msgspec.json.schema(VerdictDocument)
