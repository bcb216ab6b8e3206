"""The cookie of a session: what is one and what is none."""

from __future__ import annotations

import pytest

from leadline_collector.auth.secrets import sha256_of
from leadline_collector.http import sessions

KEY = "ll_viewer_0123456789abcdef"


@pytest.mark.parametrize("end", ["", "x", "-1", "٣", "9" * 40, "99999999999"])
def test_a_forged_end_is_no_session(end: str) -> None:
    """The end is under the seal; what is no number is refused without an error."""
    digest = sha256_of(KEY)
    seal = sessions.sealed(digest, 1_000).partition(".")[0]

    assert sessions.is_sealed(digest, f"{seal}.1000", 999)
    assert not sessions.is_sealed(digest, f"{seal}.{end}", 0)
