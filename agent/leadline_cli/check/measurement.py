"""The measuring half of ``leadline check``: resolve, probe, collect. It judges nothing."""

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

#: How often the terminal is drawn; RTTs come from kernel stamps, so drawing does not show in them.
REDRAW_INTERVAL_NS = 250_000_000
#: Loopback probes for this host's own error: ten a second leave a p99 after ten seconds.
LOOPBACK_SETTINGS = ProbeSettings(interval_ms=100, timeout_ms=1_000)
_LOOPBACK_NAMES = {4: "~loopback4", 6: "~loopback6"}
_LOOPBACK_ADDRESSES = {4: "127.0.0.1", 6: "::1"}
_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
#: Any port does: a datagram socket's connect() asks the routing table and sends nothing.
_ROUTE_LOOKUP_PORT = 9


@dataclass(slots=True)
class CheckMeasurement:
    """What has been measured so far, by target name, and the loopback RTTs by family."""

    targets: Sequence[tuple[str, str]]
    slots: int
    results: dict[str, list[ProbeResult]] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    loopback_ns: dict[int, list[int]] = field(default_factory=lambda: {4: [], 6: []})

    def add_result(self, result: ProbeResult) -> None:
        """Keep one outcome."""
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
    """Each host with the one address that will be probed; an error names the host and the remedy."""
    return [(host, _resolve_host(host, family)) for host in hosts]


def _resolve_host(host: str, family: int | None) -> str:
    try:
        found = socket.getaddrinfo(host, _ROUTE_LOOKUP_PORT, family=_FAMILIES[family], type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError("HOST", f"{host!r} has no address ({reason}); check the name, or give its address") from error
    kind, _, _, _, address = found[0]
    with socket.socket(kind, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(address)
        except PermissionError:
            pass  # a firewall may refuse UDP and allow ICMP: probing tells
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
    """Probe every target ``slots`` times and wait for what is still out."""
    run = CheckMeasurement(targets, slots)
    prober = Prober(clock=clock, rng=rng, on_result=run.add_result, on_duplicate=run.count_duplicate)
    try:
        aims = [ProbeTarget(name=host, address=address, settings=settings, slots=slots) for host, address in targets]
        versions = {ipaddress.ip_address(address).version for _, address in targets}
        prober.set_targets([*aims, *(_build_loopback_target(version, settings, slots) for version in sorted(versions))])
        end_ns = clock.monotonic_ns() + (slots + 1) * settings.interval_ms * 1_000_000
        while (now_ns := clock.monotonic_ns()) < end_ns and not _is_complete(run):
            prober.run(min(now_ns + REDRAW_INTERVAL_NS, end_ns))
            if on_progress:
                on_progress(run)
        prober.drain()
    finally:
        prober.close()
    for outcomes in run.results.values():
        outcomes.sort(key=lambda outcome: outcome.slot)
    return run


def _is_complete(run: CheckMeasurement) -> bool:
    return all(len(run.results.get(host, ())) >= run.slots for host, _ in run.targets)


def _build_loopback_target(version: int, settings: ProbeSettings, slots: int) -> ProbeTarget:
    return ProbeTarget(
        name=_LOOPBACK_NAMES[version],
        address=_LOOPBACK_ADDRESSES[version],
        settings=LOOPBACK_SETTINGS,
        slots=max(1, slots * settings.interval_ms // LOOPBACK_SETTINGS.interval_ms),
    )
