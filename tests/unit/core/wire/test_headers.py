"""What an agent tells in its headers: written by one side, read by the other, and nothing else is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.wire import headers
from leadline.wire.headers import SpoolBacklog

NUMBER = st.integers(0, 10**15 - 1)


@given(NUMBER, NUMBER, NUMBER)
def test_a_backlog_is_read_as_it_was_written(batches: int, size: int, size_max: int) -> None:
    """Any numbers within fifteen digits."""
    one = SpoolBacklog(batches=batches, bytes=size, bytes_max=size_max)

    assert headers.parse_backlog(one.to_header()) == one


@pytest.mark.parametrize(
    "header",
    [
        "", "batches=1", "batches=1, bytes=2", "batches=1,bytes=2,max=3", "batches=-1, bytes=2, max=3",
        "batches=01, bytes=2, max=3", "batches=1, bytes=2, max=1000000000000000", "batches=1, bytes=2, max=3 ",
        "batches=1, bytes=2, max=3\n", "batches=1.5, bytes=2, max=3", "batches=٣, bytes=2, max=3",
    ],
)  # fmt: skip
def test_anything_else_is_no_backlog(header: str) -> None:
    """Signs, leading zeros, sixteen digits, other spaces, digits of other scripts."""
    assert headers.parse_backlog(header) is None


@pytest.mark.parametrize("header", ["", "curl/8", "leadline-agent/", "leadline-agent/x", "leadline-agent/1 (x)"])
def test_only_an_agent_has_a_version(header: str) -> None:
    """Nobody else's User-Agent is one."""
    assert headers.parse_agent_version(header) is None


def test_a_version_has_at_most_32_characters() -> None:
    """As many as the column; one more is no version."""
    assert headers.parse_agent_version("leadline-agent/" + "1" * 32) == "1" * 32
    assert headers.parse_agent_version("leadline-agent/" + "1" * 33) is None
