"""Many claims at once."""

from __future__ import annotations

import pytest

from leadline_verdict.multiple_claims import expected_wrong_claims


def test_wrong_claims_of_ten_sites() -> None:
    """45 pairs under three profiles are 135 claims: at most 6.75 of them wrong on average."""
    assert expected_wrong_claims(135) == pytest.approx(6.75)
