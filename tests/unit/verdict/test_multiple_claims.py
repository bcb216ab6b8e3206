"""Expected number of wrong claims."""

from __future__ import annotations

import pytest

from leadline_verdict.multiple_claims import expected_wrong_claims


def test_wrong_claims_of_ten_sites() -> None:
    """45 pairs with three profiles make 135 claims; on average at most 6.75 are wrong."""
    assert expected_wrong_claims(135) == pytest.approx(6.75)
