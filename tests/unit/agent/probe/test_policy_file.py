"""The local policy: it only adds restrictions, rejects mistakes, and must be in a protected file."""

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


def test_every_key_of_the_file_takes_effect(file: Path) -> None:
    """Networks, rate, payload and interval come from the file."""
    local_policy = load_policy(file, required=True)

    assert [
        local_policy.is_address_allowed(address) for address in ("10.1.1.1", "10.99.1.1", "192.0.2.1", "2001:db8:40::1")
    ] == [
        True,
        False,
        False,
        True,
    ]
    assert (local_policy.packets_per_s, local_policy.payload_bytes_max, local_policy.interval_ms_min) == (5, 1_472, 500)


def test_empty_file_adds_no_restriction() -> None:
    """Only the compiled limits apply."""
    assert parse_policy("") == LocalPolicy()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('allowed_network = ["10.0.0.0/8"]', "line 1, allowed_network: unknown key; the keys are allowed"),
        ("packets_per_second = 50001", "line 1, packets_per_second: 50,001 is above the fixed maximum of 50,000"),
        ("packets_per_second = 0", "line 1, packets_per_second: 0 is below the minimum of 1"),
        ('packets_per_second = "9"', "line 1, packets_per_second: Expected `int"),
        ("# one\n\npayload_bytes_max = 8973", "line 3, payload_bytes_max: 8,973 is above the fixed maximum"),
        ('min_interval = "9ms"', "line 1, min_interval: is below the fixed minimum of 10 ms"),
        ('min_interval = "soon"', "line 1, min_interval: 'soon' is not a duration"),
        ('denied_networks = ["10.0.0.1/8"]', "line 1, denied_networks: 10.0.0.1/8 has host bits set"),
        ("allowed_networks = []", "line 1, allowed_networks: Expected `array` of length >= 1"),
        ("packets_per_second", "policy: is not valid TOML"),
    ],
)
def test_mistake_is_reported_with_its_line(file: Path, text: str, problem: str) -> None:
    """A mistake is an error, so the agent does not start."""
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        load_policy(file, required=True)

    assert problem in str(caught.value)


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620])
def test_file_writable_by_others_is_refused(file: Path, mode: int) -> None:
    """The error has the reason and the remedy."""
    file.chmod(mode)

    with pytest.raises(ConfigError, match=r"other users can write .* change what this agent may probe: `chmod go-w"):
        load_policy(file, required=False)


def test_directory_writable_by_others_is_refused(file: Path) -> None:
    """Others can replace a file in such a directory, but not in a sticky one."""
    file.parent.chmod(0o777)
    with pytest.raises(ConfigError, match="replace the policy"):
        load_policy(file, required=True)

    file.parent.chmod(0o1777)
    load_policy(file, required=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_file_of_another_user_is_refused(file: Path) -> None:
    """Its owner can change it with any mode."""
    os.chown(file, 12_345, -1)

    with pytest.raises(ConfigError, match="belongs to user 12345"):
        load_policy(file, required=True)


def test_default_file_is_optional_and_explicit_file_is_required(tmp_path: Path) -> None:
    """A wrong explicit path is an error; otherwise it would silently allow everything."""
    assert load_policy(tmp_path / "none", required=False) == LocalPolicy()
    with pytest.raises(ConfigError, match="does not exist"):
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
def test_no_file_allows_a_compiled_refusal(allowed: list[str], denied: list[str], address: str) -> None:
    """Multicast, metadata and similar addresses stay forbidden with any file."""
    local_policy = parse_policy(
        f"denied_networks = {denied!r}" + (f"\nallowed_networks = {allowed!r}" if allowed else "")
    )

    assert address_policy.is_address_allowed(address) or not local_policy.is_address_allowed(address)


def test_mapped_address_is_checked_as_ipv4() -> None:
    """::ffff:10.99.0.1 is the address 10.99.0.1."""
    assert not parse_policy(FULL).is_address_allowed("::ffff:10.99.0.1")
    assert parse_policy(FULL).is_address_allowed("::ffff:10.1.0.1")


def test_loopback_is_allowed_unless_denied() -> None:
    """The noise floor probes go to the loopback, five times a second."""
    assert parse_policy(FULL).is_address_allowed("127.0.0.1")
    assert not parse_policy(FULL).is_address_allowed("127.0.0.2")
    assert not parse_policy('denied_networks = ["127.0.0.0/8"]').is_address_allowed("127.0.0.1")
    assert parse_policy(FULL).find_violation(build_probe_target("~loopback4", "127.0.0.1", interval_ms=200)) is None


def test_forbidden_targets_are_skipped_and_reported() -> None:
    """The others are probed. Earlier targets take the packet rate first."""
    big = replace(build_probe_target("big", "10.0.0.5"), settings=ProbeSettings(payload_bytes=1_473))
    targets = [
        build_probe_target("a", "10.0.0.1"),
        build_probe_target("far", "192.0.2.1"),
        build_probe_target("fast", "10.0.0.2", interval_ms=200),
        big,
        build_probe_target("name", None),
        build_probe_target("b", "10.0.0.3", interval_ms=500),
        build_probe_target("c", "10.0.0.4", interval_ms=500),
    ]

    allowed_targets, violations = filter_targets(targets, parse_policy(FULL))

    assert [target.name for target in allowed_targets] == ["a", "name", "b"]
    assert [line.split(":")[0] for line in violations] == ["target far", "target fast", "target big", "target c"]


def test_invalid_targets_are_skipped() -> None:
    """A source address of another family does not stop the other targets."""
    odd = replace(build_probe_target("odd", "10.0.0.1"), source="2001:db8::1")

    allowed_targets, violations = filter_targets([odd, build_probe_target("good", "10.0.0.2")], LocalPolicy())

    assert [target.name for target in allowed_targets] == ["good"]
    assert "different address families" in violations[0]


def test_loopback_targets_take_the_packet_rate_first() -> None:
    """Otherwise, targets that use the whole rate leave every RTT without an error bound."""
    targets = [build_probe_target(f"t{number}", "10.0.0.1") for number in range(10)]

    allowed_targets, violations = filter_targets(
        [*targets, build_probe_target("~loopback4", "127.0.0.1", interval_ms=500)], parse_policy(FULL)
    )

    assert [target.name for target in allowed_targets] == ["~loopback4", "t0", "t1", "t2"]
    assert len(violations) == 7
