"""From names to addresses."""

from __future__ import annotations

import pytest

from leadline_agent.resolve import resolve


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".com", "\udcff", ".", ""])
def test_a_name_that_is_none_has_no_address(name: str) -> None:
    """A plan is data from elsewhere: a malformed name in it must not end the agent. No packet is needed to tell."""
    assert resolve(name) is None


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_an_address_stays_what_it_is(address: str) -> None:
    """Literals are not looked up."""
    assert resolve(address) == address
