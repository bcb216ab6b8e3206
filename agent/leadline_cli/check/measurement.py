"""Measurement of ``leadline check``: resolve, probe, collect."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from leadline.clock import Clock
from leadline.errors import ConfigError, UnavailableError
from leadline.model import ProbeSettings
from leadline_agent.probe.engine import Prober
from leadline_agent.probe.results import ProbeResult, ProbeTarget

#: Redraw interval of the terminal. Drawing does not affect RTTs, because they come from kernel timestamps.
REDRAW_INTERVAL_NS = 250_000_000
#: Loopback probes for the error of this host: ten a second give a p99 after ten seconds.
LOOPBACK_SETTINGS = ProbeSettings(interval_ms=100, timeout_ms=1_000)
_LOOPBACK_NAMES = {4: "~loopback4", 6: "~loopback6"}
_LOOPBACK_ADDRESSES = {4: "127.0.0.1", 6: "::1"}
_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
#: Any port works: connect() of a datagram socket only queries the routing table.
_ROUTE_LOOKUP_PORT = 9


@dataclass(slots=True)
class CheckMeasurement:
    """Results so far by target name, and loopback RTTs by IP version."""

    targets: Sequence[tuple[str, str]]
    slots: int
    results: dict[str, list[ProbeResult]] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    loopback_ns: dict[int, list[int]] = field(default_factory=lambda: {4: [], 6: []})

    def add_result(self, result: ProbeResult) -> None:
        """Add one result."""
        for version, name in _LOOPBACK_NAMES.items():
            if result.target.name == name:
                if result.rtt_ns is not None:
                    self.loopback_ns[version].append(result.rtt_ns)
                return
        self.results.setdefault(result.target.name, []).append(result)

    def count_duplicate(self, target: ProbeTarget, _slot: int) -> None:
        """Count a reply beyond the first."""
        self.duplicates[target.name] = self.duplicates.get(target.name, 0) + 1


def resolve_hosts(hosts: Sequence[str], family: int | None) -> list[tuple[str, str]]:
    """Resolve each host to one address; raise ConfigError or UnavailableError with the remedy."""
    return [(host, _resolve_host(host, family)) for host in hosts]


def _resolve_host(host: str, family: int | None) -> str:
    try:
        entries = socket.getaddrinfo(host, _ROUTE_LOOKUP_PORT, family=_FAMILIES[family], type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(
            "HOST", f"{host!r} does not resolve ({reason}); check the name, or pass an address"
        ) from error
    kind, _, _, _, address = entries[0]
    with socket.socket(kind, socket.SOCK_DGRAM) as route_lookup:
        try:
            route_lookup.connect(address)
        except PermissionError:
            pass  # A firewall may refuse UDP and allow ICMP; the probes will show.
        except OSError as error:
            raise UnavailableError(
                f"no route from this host to {host}: {error.strerror}; check `ip route get {address[0]}`"
            ) from error
    return str(address[0])


def measure_targets(
    settings: ProbeSettings,
    slots: int,
    targets: Sequence[tuple[str, str]],
    clock: Clock,
    rng: Random,
    on_progress: Callable[[CheckMeasurement], None] | None,
) -> CheckMeasurement:
    """Probe every target ``slots`` times and wait for outstanding replies."""
    measurement = CheckMeasurement(targets, slots)
    prober = Prober(clock=clock, rng=rng, on_result=measurement.add_result, on_duplicate=measurement.count_duplicate)
    try:
        probe_targets = [
            ProbeTarget(name=host, address=address, settings=settings, slots=slots) for host, address in targets
        ]
        versions = {ipaddress.ip_address(address).version for _, address in targets}
        prober.set_targets(
            [*probe_targets, *(_build_loopback_target(version, settings, slots) for version in sorted(versions))]
        )
        end_ns = clock.monotonic_ns() + (slots + 1) * settings.interval_ms * 1_000_000
        while (now_ns := clock.monotonic_ns()) < end_ns and not _is_complete(measurement):
            prober.run(min(now_ns + REDRAW_INTERVAL_NS, end_ns))
            if on_progress:
                on_progress(measurement)
        prober.drain()
    finally:
        prober.close()
    for results in measurement.results.values():
        results.sort(key=lambda result: result.slot)
    return measurement


def _is_complete(measurement: CheckMeasurement) -> bool:
    return all(len(measurement.results.get(host, ())) >= measurement.slots for host, _ in measurement.targets)


def _build_loopback_target(version: int, settings: ProbeSettings, slots: int) -> ProbeTarget:
    return ProbeTarget(
        name=_LOOPBACK_NAMES[version],
        address=_LOOPBACK_ADDRESSES[version],
        settings=LOOPBACK_SETTINGS,
        slots=max(1, slots * settings.interval_ms // LOOPBACK_SETTINGS.interval_ms),
    )
