"""Check that the tests listed in docs/faults.md exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def list_tests(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.source_tree
def test_every_listed_test_exists() -> None:
    """Every row has at least one test, and all tests exist."""
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    tests = re.findall(r"`([\w/]+/test_\w+\.py)::(test_\w+)`", text)
    rows = [row for row in text.splitlines() if row.startswith("| ") and not row.startswith("| fault")]

    assert len(tests) > 50
    assert [f"{file}::{name}" for file, name in tests if name not in list_tests(ROOT / "tests" / file)] == []
    assert [row for row in rows if "::test_" not in row] == []
