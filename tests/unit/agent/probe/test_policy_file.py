"""The policy of the host: it narrows, it is strict, and it is believed only from a file that nobody else can write."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import ConfigError
from leadline.model import ProbeSettings
from leadline_agent.probe import address_policy
from leadline_agent.probe.policy_file import LocalPolicy, filter_targets, load_policy, locate_policy_file, parse_policy
from tests.support.fake_probe_socket import build_probe_target

FULL = """\
allowed_networks = ["10.0.0.0/8", "2001:db8:40::/44"]
denied_networks = ["10.99.0.0/16"]
packets_per_second = 5
payload_bytes_max = 1472
min_interval = "500ms"
"""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    file = tmp_path / "policy.toml"
    file.write_text(FULL)
    file.chmod(0o644)
    return file


def test_a_file_says_what_is_allowed(file: Path) -> None:
    """Every key has its effect."""
    found = load_policy(file, required=True)

    assert [
        found.is_address_allowed(address) for address in ("10.1.1.1", "10.99.1.1", "192.0.2.1", "2001:db8:40::1")
    ] == [
        True,
        False,
        False,
        True,
    ]
    assert (found.packets_per_s, found.payload_bytes_max, found.interval_ms_min) == (5, 1_472, 500)


def test_an_empty_file_narrows_nothing() -> None:
    """The ceilings that are compiled in stay."""
    assert parse_policy("") == LocalPolicy()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('allowed_network = ["10.0.0.0/8"]', "line 1, allowed_network: there is no such key; the keys are allowed"),
        ("packets_per_second = 50001", "line 1, packets_per_second: 50,001 is above 50,000, the ceiling"),
        ("packets_per_second = 0", "line 1, packets_per_second: 0 is below 1"),
        ('packets_per_second = "9"', "line 1, packets_per_second: Expected `int"),
        ("# one\n\npayload_bytes_max = 8973", "line 3, payload_bytes_max: 8,973 is above"),
        ('min_interval = "9ms"', "line 1, min_interval: is below 10 ms"),
        ('min_interval = "soon"', "line 1, min_interval: 'soon' is not a duration"),
        ('denied_networks = ["10.0.0.1/8"]', "line 1, denied_networks: 10.0.0.1/8 has host bits set"),
        ("allowed_networks = []", "line 1, allowed_networks: Expected `array` of length >= 1"),
        ("packets_per_second", "policy: is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_line(file: Path, text: str, complaint: str) -> None:
    """A policy that is not understood is no policy: the agent does not start."""
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_policy(file, required=True)

    assert complaint in str(caught.value)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
def test_a_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    """And the message says why and what to do."""
    file.chmod(mode)

    with pytest.raises(ConfigError, match=r"written by others .* could change what this agent may probe: `chmod go-w"):
        load_policy(file, required=False)


def test_a_directory_that_others_can_write_is_refused(file: Path) -> None:
    """They could put another file there; in a sticky one they cannot."""
    file.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="another policy in its place"):
        load_policy(file, required=True)

    file.parent.chmod(0o1777)
    load_policy(file, required=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    """Its owner could change it, whatever its mode."""
    os.chown(file, 12_345, -1)

    with pytest.raises(ConfigError, match="belongs to user 12345"):
        load_policy(file, required=True)


def test_the_default_file_may_be_missing_and_a_named_one_may_not(tmp_path: Path) -> None:
    """A name that leads nowhere is a mistake, and would silently allow everything."""
    assert load_policy(tmp_path / "none", required=False) == LocalPolicy()
    with pytest.raises(ConfigError, match="is not there"):
        load_policy(tmp_path / "none", required=True)

    assert locate_policy_file({}, None) == (Path("/etc/leadline/policy.toml"), False)
    assert locate_policy_file({"LEADLINE_POLICY_FILE": "/p"}, None) == (Path("/p"), True)
    assert locate_policy_file({"LEADLINE_POLICY_FILE": "/p"}, Path("/q")) == (Path("/q"), True)


networks = st.lists(st.sampled_from(["0.0.0.0/0", "::/0", "10.0.0.0/8", "224.0.0.0/4", "169.254.0.0/16"]), max_size=3)
addresses = st.one_of(
    st.ip_addresses().map(str),
    st.sampled_from(["224.0.0.1", "169.254.169.254", "::ffff:169.254.169.254", "ff02::1", "255.255.255.255"]),
)


@given(networks, networks, addresses)
def test_no_file_allows_what_is_compiled_out(allowed: list[str], denied: list[str], address: str) -> None:
    """Multicast, metadata and the rest stay forbidden, whatever is allowed."""
    given = parse_policy(f"denied_networks = {denied!r}" + (f"\nallowed_networks = {allowed!r}" if allowed else ""))

    assert address_policy.is_address_allowed(address) or not given.is_address_allowed(address)


def test_a_mapped_address_is_judged_as_what_it_is() -> None:
    """::ffff:10.99.0.1 goes to 10.99.0.1."""
    assert not parse_policy(FULL).is_address_allowed("::ffff:10.99.0.1")
    assert parse_policy(FULL).is_address_allowed("::ffff:10.1.0.1")


def test_the_own_loopback_needs_no_permission_but_can_be_denied() -> None:
    """The noise floor of this host is measured there, five times a second."""
    assert parse_policy(FULL).is_address_allowed("127.0.0.1")
    assert not parse_policy(FULL).is_address_allowed("127.0.0.2")
    assert not parse_policy('denied_networks = ["127.0.0.0/8"]').is_address_allowed("127.0.0.1")
    assert parse_policy(FULL).find_violation(build_probe_target("~loopback4", "127.0.0.1", interval_ms=200)) is None


def test_what_is_forbidden_is_left_out_and_named() -> None:
    """The others are probed; what comes first has the packets."""
    big = replace(build_probe_target("big", "10.0.0.5"), settings=ProbeSettings(payload_bytes=1_473))
    aims = [
        build_probe_target("a", "10.0.0.1"), build_probe_target("far", "192.0.2.1"), build_probe_target("fast", "10.0.0.2", interval_ms=200), big,
        build_probe_target("name", None), build_probe_target("b", "10.0.0.3", interval_ms=500), build_probe_target("c", "10.0.0.4", interval_ms=500),
    ]  # fmt: skip

    kept, complaints = filter_targets(aims, parse_policy(FULL))

    assert [one.name for one in kept] == ["a", "name", "b"]
    assert [line.split(":")[0] for line in complaints] == ["target far", "target fast", "target big", "target c"]


def test_what_cannot_be_probed_at_all_is_left_out_too() -> None:
    """An address that is none, or of another family than the source, is no reason to stop."""
    odd = replace(build_probe_target("odd", "10.0.0.1"), source="2001:db8::1")

    kept, complaints = filter_targets([odd, build_probe_target("good", "10.0.0.2")], LocalPolicy())

    assert [one.name for one in kept] == ["good"]
    assert "different families" in complaints[0]


def test_the_noise_floor_has_its_packets_first() -> None:
    """Targets that use up the packets would otherwise leave every RTT without an error bound."""
    targets = [build_probe_target(f"t{number}", "10.0.0.1") for number in range(10)]

    kept, complaints = filter_targets(
        [*targets, build_probe_target("~loopback4", "127.0.0.1", interval_ms=500)], parse_policy(FULL)
    )

    assert [one.name for one in kept] == ["~loopback4", "t0", "t1", "t2"]
    assert len(complaints) == 7
