"""Compare the interfaces of the product with their golden copies; ``golden_files`` documents how to renew these."""

from __future__ import annotations

import difflib
from itertools import islice

import pytest

from tests.contract.golden_files import GROUPS, read_golden, select_comparable

#: Maximum lines of a difference in a failure.
LINES_MAX = 60


@pytest.mark.parametrize("group", list(GROUPS))
def test_an_interface_equals_its_golden_files(group: str) -> None:
    """File names and bytes are equal."""
    golden, current = select_comparable(read_golden(group)), select_comparable(GROUPS[group]())

    assert sorted(current) == sorted(golden)
    for name, data in current.items():
        assert data == golden[name], f"{group}/{name} differs:\n{difference(golden[name], data)}"


def difference(before: bytes, after: bytes) -> str:
    """Return the first lines of a unified diff."""
    golden, current = (data.decode(errors="replace").splitlines() for data in (before, after))
    return "\n".join(islice(difflib.unified_diff(golden, current, "golden", "current", n=2, lineterm=""), LINES_MAX))
