"""Local policy of this host: a root-owned file that limits what the agent may probe, independent of the collector.

Rule 1: it narrows the compiled limits in ``address_policy`` and never widens them. A value above a limit is an error.
Rule 2: a file that other users can write is refused, and the agent does not start.
Rule 3: forbidden targets are removed from a plan and logged. The other targets are measured.

::

    allowed_networks = ["10.0.0.0/8", "2001:db8:40::/44"]   # default: everything that address_policy allows
    denied_networks = ["10.99.0.0/16"]                      # takes precedence over allowed; default: none
    packets_per_second = 500                                # default and maximum: 50,000
    payload_bytes_max = 1472                                # default and maximum: 8,972
    min_interval = "1s"                                     # default and minimum: 10 ms
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
#: Ten networks are a long list. A larger file is not a policy file.
FILE_BYTES_MAX = 64 << 10
NETWORKS_MAX = 1_000
#: Targets of the noise-floor probes. These packets never leave the host, so only an explicit denial blocks them.
_LOOPBACK_ADDRESSES = frozenset({"127.0.0.1", "::1"})

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalPolicy:
    """Restrictions by the owner of this host. The defaults add none."""

    #: None: every address that ``address_policy`` allows.
    allowed_networks: tuple[Network, ...] | None = None
    denied_networks: tuple[Network, ...] = ()
    packets_per_s: int = address_policy.PACKETS_PER_S_MAX
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    interval_ms_min: int = INTERVAL_MS_MIN

    def __post_init__(self) -> None:
        _check_range("packets_per_second", self.packets_per_s, 1, address_policy.PACKETS_PER_S_MAX)
        _check_range("payload_bytes_max", self.payload_bytes_max, PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX)
        if self.interval_ms_min < INTERVAL_MS_MIN:
            raise ConfigError("min_interval", f"is below the fixed minimum of {INTERVAL_MS_MIN} ms")

    def is_address_allowed(self, address: str) -> bool:
        """Return True if this IP literal may be probed; ValueError if it is not an IP literal."""
        ip = address_policy.parse_address(address)
        if not address_policy.is_address_allowed(address) or _is_in(ip, self.denied_networks):
            return False
        return self.allowed_networks is None or str(ip) in _LOOPBACK_ADDRESSES or _is_in(ip, self.allowed_networks)

    def find_violation(self, target: ProbeTarget) -> str | None:
        """Return the reason why the policy forbids a target; None if it is allowed."""
        settings = target.settings
        if target.address is not None and not self.is_address_allowed(target.address):
            return f"target {target.name}: the policy of this agent forbids probing {target.address}"
        if settings.payload_bytes > self.payload_bytes_max:
            size, most = settings.payload_bytes, self.payload_bytes_max
            return f"target {target.name}: payload of {size} B; the policy allows {most} B"
        if settings.interval_ms < self.interval_ms_min and target.address not in _LOOPBACK_ADDRESSES:
            shortest = format_duration(self.interval_ms_min)
            return (
                f"target {target.name}: interval of {settings.interval_ms} ms; the policy allows {shortest} or longer"
            )
        return None


def _is_in(ip: ipaddress.IPv4Address | ipaddress.IPv6Address, networks: Iterable[Network]) -> bool:
    return any(ip in network for network in networks)


def _check_range(key: str, value: int, least: int, most: int) -> None:
    if value < least:
        raise ConfigError(key, f"{value:,} is below the minimum of {least:,}")
    if value > most:
        raise ConfigError(key, f"{value:,} is above the fixed maximum of {most:,}")


def filter_targets(targets: Sequence[ProbeTarget], local_policy: LocalPolicy) -> tuple[list[ProbeTarget], list[str]]:
    """Return the allowed targets within the packet rate limit, and a line for each refused target.

    The loopback targets take their packets first, because no RTT has an error bound without them. The others follow in
    their order. A refused target does not affect the others.
    """
    allowed: list[ProbeTarget] = []
    violations: list[str] = []
    rate = 0.0
    for target in sorted(targets, key=lambda target: target.address not in _LOOPBACK_ADDRESSES):
        target_rate = 1_000 / target.settings.interval_ms
        violation = local_policy.find_violation(target) or _find_compiled_violation(target, local_policy)
        if violation is None and rate + target_rate > local_policy.packets_per_s:
            violation = f"target {target.name}: exceeds the policy limit of {local_policy.packets_per_s:,} packets/s"
        if violation is None:
            allowed.append(target)
            rate += target_rate
        else:
            violations.append(violation)
    return allowed, violations


def _find_compiled_violation(target: ProbeTarget, local_policy: LocalPolicy) -> str | None:
    try:
        address_policy.check_targets([target], local_policy.is_address_allowed)
    except ConfigError as error:
        return str(error)
    return None


class _PolicyFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of the file."""

    allowed_networks: Annotated[list[str], Meta(min_length=1, max_length=NETWORKS_MAX)] | None = None
    denied_networks: Annotated[list[str], Meta(max_length=NETWORKS_MAX)] = []
    packets_per_second: int | None = None
    payload_bytes_max: int | None = None
    min_interval: str | None = None


def locate_policy_file(environ: Mapping[str, str], option: Path | None) -> tuple[Path, bool]:
    """Return the path of the policy file, and whether it must exist: it must if the option or variable sets it."""
    if option is not None:
        return option, True
    if path := environ.get(FILE_VARIABLE):
        return Path(path), True
    return FILE_DEFAULT, False


def load_policy(path: Path, *, required: bool) -> LocalPolicy:
    """Load a policy file; return the defaults if it does not exist and is not ``required``. Raise ConfigError."""
    try:
        text = _read_trusted(path)
    except FileNotFoundError:
        if required:
            raise ConfigError("policy file", f"{path} does not exist") from None
        return LocalPolicy()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("policy file", f"{path} cannot be read: {error}") from error
    try:
        return parse_policy(text)
    except ConfigError as error:
        raise ConfigError(f"{path}, {_locate_key(text, error.key)}", error.problem) from error


def parse_policy(text: str) -> LocalPolicy:
    """Parse the text of a policy file; ConfigError names the key."""
    try:
        file = convert(tomllib.loads(text), _PolicyFile)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("policy", f"is not valid TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise _convert_validation_error(str(error)) from error
    values = {
        "allowed_networks": None
        if file.allowed_networks is None
        else _parse_networks("allowed_networks", file.allowed_networks),
        "denied_networks": _parse_networks("denied_networks", file.denied_networks),
        "packets_per_s": file.packets_per_second,
        "payload_bytes_max": file.payload_bytes_max,
        "interval_ms_min": None if file.min_interval is None else _parse_interval_ms(file.min_interval),
    }
    return LocalPolicy(**{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]


def _convert_validation_error(message: str) -> ConfigError:
    """Convert the text of a msgspec error: it has a path for a wrong value, and the key for an unknown key."""
    problem, _, path = message.partition(" - at `$.")
    match = re.search(r"unknown field `([^`]*)`", problem)
    if match:
        keys = ", ".join(_PolicyFile.__struct_fields__)
        return ConfigError(match[1], f"unknown key; the keys are {keys}")
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
    """Return ``line 3, packets_per_second``, or the key alone if its line is not found."""
    for number, line in enumerate(text.splitlines(), start=1):
        if re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
            return f"line {number}, {key}"
    return key


def _read_trusted(path: Path) -> str:
    """Read a file that only root and the user of the agent can write; ConfigError for any other file."""
    with path.open("rb") as file:
        _check_owner(path, os.fstat(file.fileno()))
        _check_directory(path.parent)
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError("policy file", f"{path} is larger than {FILE_BYTES_MAX} bytes")
    return data.decode("utf-8")


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(
            "policy file",
            f"{path} belongs to user {status.st_uid}; root or the user of the agent must own it: `chown root {path}`",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(
            "policy file",
            f"other users can write {path} (mode {stat.S_IMODE(status.st_mode):04o}) and change what this agent may "
            f"probe: `chmod go-w {path}`",
        )


def _check_directory(directory: Path) -> None:
    """Refuse a directory that other users can write, because they can replace the file. A sticky one is safe."""
    status = directory.stat()
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if status.st_uid not in (0, os.geteuid()) or (others_write and not status.st_mode & stat.S_ISVTX):
        raise ConfigError(
            "policy file",
            f"other users can write {directory} and replace the policy: "
            f"`chown root {directory}; chmod go-w {directory}`",
        )
