"""Docstrings and comments are plain English (docs/decisions/0013): a fixed list of patterns keeps the old style out."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("agent", "collector", "dashboards")
#: Never used: each of them has a plain alternative.
FORBIDDEN = re.compile(
    r"\b(nobody|whoever|whatever|anew|thereof|vouch\w*|in force|told|(?<!there )(?-i:is none|are none))\b",
    re.IGNORECASE,
)
#: Inverted or personifying style. Each has a legitimate use, so their share is limited.
SUSPECT = re.compile(
    r"\b(what is|what was|whose|of which|as often|meanwhile|goes|comes to|lies?|stands?|stood|holds?|held|likewise|"
    r"somebody|anybody|behind it|passed over|aside|where it|who (?:has|is|does|asks)|by itself|said|says?|tells?)\b",
    re.IGNORECASE,
)
SUSPECT_PER_1000_MAX = 4.0


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Every docstring and comment of a file, with its line."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield getattr(node, "lineno", 1), docstring
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.source_tree
def test_forbidden_words_are_not_used() -> None:
    """Each of these words was a sign of a sentence that a reader had to read twice."""
    hits = [
        f"{path.relative_to(ROOT)}:{line}: {match.group()}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in texts(path)
        for match in FORBIDDEN.finditer(text)
    ]

    assert hits == []


@pytest.mark.source_tree
@pytest.mark.parametrize("folder", FOLDERS)
def test_suspect_words_are_rare(folder: str) -> None:
    """At most four in a thousand words, as in well-written libraries."""
    text = "\n".join(text for path in sorted((ROOT / folder).rglob("*.py")) for _, text in texts(path))
    words, hits = len(re.findall(r"[A-Za-z']+", text)), len(SUSPECT.findall(text))

    assert hits * 1_000 / words <= SUSPECT_PER_1000_MAX, f"{hits} in {words} words of {folder}/"


def test_the_patterns_find_the_style_they_name() -> None:
    """A sentence of each kind is found, and its plain form is not."""
    assert FORBIDDEN.search("which of them is none")
    assert FORBIDDEN.search("the mesh in force")
    assert SUSPECT.search("what a batch says")
    assert not FORBIDDEN.search("Return the record header at the offset, or None if there is no valid header.")
    assert not SUSPECT.search("Return the record header at the offset, or None if there is no valid header.")
