"""The outside of the product equals its golden copies, byte for byte (``golden_files`` says how to renew them)."""

from __future__ import annotations

import difflib
from itertools import islice

import pytest

from tests.contract.golden_files import GROUPS, comparable, stored

#: Lines of a difference that a failure shows.
LINES_MAX = 60


@pytest.mark.parametrize("group", list(GROUPS))
def test_the_outside_is_as_it_was(group: str) -> None:
    """The same files, each with the same bytes."""
    golden, current = comparable(stored(group)), comparable(GROUPS[group]())

    assert sorted(current) == sorted(golden)
    for name, data in current.items():
        assert data == golden[name], f"{group}/{name} differs:\n{difference(golden[name], data)}"


def difference(before: bytes, after: bytes) -> str:
    """Return the first lines of a unified diff."""
    golden, current = (data.decode(errors="replace").splitlines() for data in (before, after))
    return "\n".join(islice(difflib.unified_diff(golden, current, "golden", "current", n=2, lineterm=""), LINES_MAX))
