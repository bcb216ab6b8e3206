"""Request headers of an agent: formatting, parsing, and malformed values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.wire import headers
from leadline.wire.headers import SpoolBacklog

NUMBER = st.integers(0, 10**15 - 1)


@given(NUMBER, NUMBER, NUMBER)
def test_a_formatted_backlog_parses_to_the_same_value(batches: int, size: int, size_max: int) -> None:
    """All numbers of up to fifteen digits."""
    backlog = SpoolBacklog(batches=batches, bytes=size, bytes_max=size_max)

    assert headers.parse_backlog(backlog.to_header()) == backlog


@pytest.mark.parametrize(
    "header",
    [
        "", "batches=1", "batches=1, bytes=2", "batches=1,bytes=2,max=3", "batches=-1, bytes=2, max=3",
        "batches=01, bytes=2, max=3", "batches=1, bytes=2, max=1000000000000000", "batches=1, bytes=2, max=3 ",
        "batches=1, bytes=2, max=3\n", "batches=1.5, bytes=2, max=3", "batches=٣, bytes=2, max=3",
    ],
)  # fmt: skip
def test_malformed_backlogs_are_ignored(header: str) -> None:
    """Signs, leading zeros, sixteen digits, wrong spaces, digits of other scripts."""
    assert headers.parse_backlog(header) is None


@pytest.mark.parametrize("header", ["", "curl/8", "leadline-agent/", "leadline-agent/x", "leadline-agent/1 (x)"])
def test_only_an_agent_has_a_version(header: str) -> None:
    """Other User-Agent headers have no agent version."""
    assert headers.parse_agent_version(header) is None


def test_a_version_has_at_most_32_characters() -> None:
    """32 characters fit in the column; 33 are refused."""
    assert headers.parse_agent_version("leadline-agent/" + "1" * 32) == "1" * 32
    assert headers.parse_agent_version("leadline-agent/" + "1" * 33) is None
