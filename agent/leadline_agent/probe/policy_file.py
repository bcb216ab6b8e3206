"""The policy of this host: a file of root that says what the agent may probe, whatever a collector asks for.

Rule 1: it narrows ``policy``, which is compiled in, and never widens it; a value above a ceiling is an error.
Rule 2: a file that others can write is no policy. It is refused, and with it the start of the agent.
Rule 3: what it forbids is left out of a plan and named; the other targets are measured.

::

    allowed_networks = ["10.0.0.0/8", "2001:db8:40::/44"]   # default: everything that policy.may_send allows
    denied_networks = ["10.99.0.0/16"]                      # wins over allowed; default: none
    packets_per_second = 500                                # default and ceiling: 50,000
    payload_bytes_max = 1472                                # default and ceiling: 8,972
    min_interval = "1s"                                     # default and floor: 10 ms
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from leadline.durations import format_duration, parse_duration_ms
from leadline.errors import ConfigError
from leadline.model import INTERVAL_MS_MIN, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN
from leadline.wire.codec import convert
from leadline_agent.probe import address_policy
from leadline_agent.probe.results import ProbeTarget

FILE_DEFAULT = Path("/etc/leadline/policy.toml")
FILE_VARIABLE = "LEADLINE_POLICY_FILE"
#: Ten networks are a long list; a file larger than this is another file.
FILE_BYTES_MAX = 64 << 10
NETWORKS_MAX = 1_000
#: The host's own noise floor is measured there; these packets never leave it, so only an explicit denial stops them.
_LOOPBACK_ADDRESSES = frozenset({"127.0.0.1", "::1"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPolicy:
    """What this host's owner allows. The defaults narrow nothing."""

    #: None: all that ``policy.may_send`` allows.
    allowed_networks: tuple[Network, ...] | None = None
    denied_networks: tuple[Network, ...] = ()
    packets_per_s: int = address_policy.PACKETS_PER_S_MAX
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    interval_ms_min: int = INTERVAL_MS_MIN

    def __post_init__(self) -> None:
        _check_range("packets_per_second", self.packets_per_s, 1, address_policy.PACKETS_PER_S_MAX)
        _check_range("payload_bytes_max", self.payload_bytes_max, PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX)
        if self.interval_ms_min < INTERVAL_MS_MIN:
            raise ConfigError("min_interval", f"is below {INTERVAL_MS_MIN} ms, the floor that no file lifts")

    def is_address_allowed(self, address: str) -> bool:
        """For ``Prober(may_send=…)``: whether this IP literal may be probed. ValueError if it is none."""
        ip = address_policy.parse_address(address)
        if not address_policy.is_address_allowed(address) or _is_in(ip, self.denied_networks):
            return False
        return self.allowed_networks is None or str(ip) in _LOOPBACK_ADDRESSES or _is_in(ip, self.allowed_networks)

    def find_violation(self, target: ProbeTarget) -> str | None:
        """Why this aim may not be probed, by the policy; None when it may."""
        settings = target.settings
        if target.address is not None and not self.is_address_allowed(target.address):
            return f"target {target.name}: {target.address} may not be probed, by the policy of this agent"
        if settings.payload_bytes > self.payload_bytes_max:
            return f"target {target.name}: payload of {settings.payload_bytes} B, {self.payload_bytes_max} are allowed"
        if settings.interval_ms < self.interval_ms_min and target.address not in _LOOPBACK_ADDRESSES:
            shortest = format_duration(self.interval_ms_min)
            return f"target {target.name}: one probe in {settings.interval_ms} ms, one in {shortest} is allowed"
        return None


def _is_in(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: Iterable[Network]) -> bool:
    return any(ip in network for network in networks)


def _check_range(key: str, value: int, least: int, most: int) -> None:
    if value < least:
        raise ConfigError(key, f"{value:,} is below {least:,}")
    if value > most:
        raise ConfigError(key, f"{value:,} is above {most:,}, the ceiling that no file lifts")


def filter_targets(targets: Sequence[ProbeTarget], local_policy: LocalPolicy) -> tuple[list[ProbeTarget], list[str]]:
    """The aims that may be probed, all of them together within the packets a second, and a line for each left out.

    The own loopback has its packets first, for without it no RTT has an error bound; then what comes first. So one
    forbidden target does not end the others.
    """
    kept: list[ProbeTarget] = []
    complaints: list[str] = []
    rate = 0.0
    for aim in sorted(targets, key=lambda aim: aim.address not in _LOOPBACK_ADDRESSES):
        own = 1_000 / aim.settings.interval_ms
        complaint = local_policy.find_violation(aim) or _find_compiled_violation(aim, local_policy)
        if complaint is None and rate + own > local_policy.packets_per_s:
            complaint = f"target {aim.name}: more than {local_policy.packets_per_s:,} packets a second, by the policy"
        if complaint is None:
            kept.append(aim)
            rate += own
        else:
            complaints.append(complaint)
    return kept, complaints


def _find_compiled_violation(aim: ProbeTarget, local: LocalPolicy) -> str | None:
    try:
        address_policy.check_targets([aim], local.is_address_allowed)
    except ConfigError as error:
        return str(error)
    return None


class _PolicyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as it is written."""

    allowed_networks: Annotated[list[str], Meta(min_length=1, max_length=NETWORKS_MAX)] | None = None
    denied_networks: Annotated[list[str], Meta(max_length=NETWORKS_MAX)] = []
    packets_per_second: int | None = None
    payload_bytes_max: int | None = None
    min_interval: str | None = None


def locate_policy_file(environ: Mapping[str, str], option: Path | None) -> tuple[Path, bool]:
    """Where the policy is, and whether it must be there: it must where it was named."""
    if option is not None:
        return option, True
    if named := environ.get(FILE_VARIABLE):
        return Path(named), True
    return FILE_DEFAULT, False


def load_policy(path: Path, *, required: bool) -> LocalPolicy:
    """The policy in a file; the defaults when it is not there and not ``required``. ConfigError says what is wrong."""
    try:
        text = _read_trusted(path)
    except FileNotFoundError:
        if required:
            raise ConfigError("policy file", f"{path} is not there") from None
        return LocalPolicy()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("policy file", f"{path} cannot be read: {error}") from error
    try:
        return parse_policy(text)
    except ConfigError as error:
        raise ConfigError(f"{path}, {_locate_key(text, error.key)}", error.problem) from error


def parse_policy(text: str) -> LocalPolicy:
    """The policy a file describes; ConfigError names the key."""
    try:
        file = convert(tomllib.loads(text), _PolicyFile)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("policy", f"is not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise _convert_validation_error(str(error)) from error
    given = {
        "allowed_networks": None
        if file.allowed_networks is None
        else _parse_networks("allowed_networks", file.allowed_networks),
        "denied_networks": _parse_networks("denied_networks", file.denied_networks),
        "packets_per_s": file.packets_per_second,
        "payload_bytes_max": file.payload_bytes_max,
        "interval_ms_min": None if file.min_interval is None else _parse_interval_ms(file.min_interval),
    }
    return LocalPolicy(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _convert_validation_error(said: str) -> ConfigError:
    """msgspec names a wrong value by its path, and an unknown key in its text."""
    problem, _, path = said.partition(" - at `$.")
    unknown = re.search(r"unknown field `([^`]*)`", problem)
    if unknown:
        keys = ", ".join(_PolicyFile.__struct_fields__)
        return ConfigError(unknown[1], f"there is no such key; the keys are {keys}")
    return ConfigError(path.rstrip("`").partition("[")[0] or "policy", problem)


def _parse_networks(key: str, texts: Sequence[str]) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(key, f"{error}; write networks as 10.0.0.0/8 or 2001:db8::/32") from error


def _parse_interval_ms(text: str) -> int:
    try:
        return parse_duration_ms(text)
    except ValueError as error:
        raise ConfigError("min_interval", str(error)) from error


def _locate_key(text: str, key: str) -> str:
    """``line 3, packets_per_second``, where the line can be told."""
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
            return f"line {number}, {key}"
    return key


def _read_trusted(path: Path) -> str:
    """The text of a file that nobody but root and the agent's own user can write."""
    with path.open("rb") as file:
        _check_owner(path, os.fstat(file.fileno()))
        _check_directory(path.parent)
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError("policy file", f"{path} is larger than {FILE_BYTES_MAX} bytes")
    return data.decode("utf-8")


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            "policy file",
            f"{path} belongs to user {found.st_uid}, who could change what this agent may probe: `chown root {path}`",
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            "policy file",
            f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o}), who could change what this "
            f"agent may probe: `chmod go-w {path}`",
        )


def _check_directory(directory: Path) -> None:
    """Who can write the directory can put another file in its place, unless it is sticky."""
    found = directory.stat()
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid not in (0, os.geteuid()) or (others and not found.st_mode & stat.S_ISVTX):
        raise ConfigError(
            "policy file",
            f"{directory} can be written by others, who could put another policy in its place: "
            f"`chown root {directory}; chmod go-w {directory}`",
        )
