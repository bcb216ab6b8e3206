"""The page of faults names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def named_in(path: Path) -> set[str]:
    """The names of the tests in a file."""
    found = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in found if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.source_tree
def test_every_test_of_the_page_of_faults_exists() -> None:
    """A row whose test was renamed or removed claims what nobody checks; a row without a test claims nothing."""
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+/test_\w+\.py)::(test_\w+)`", text)
    rows = [row for row in text.splitlines() if row.startswith("| ") and not row.startswith("| fault")]

    assert len(named) > 50
    assert [f"{file}::{name}" for file, name in named if name not in named_in(ROOT / "tests" / file)] == []
    assert [row for row in rows if "::test_" not in row] == []
