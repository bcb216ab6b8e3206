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
from leadline_agent.probe.results import Aim, Outcome

#: How often the terminal is drawn; RTTs come from kernel stamps, so drawing does not show in them.
SLICE_NS = 250_000_000
#: Loopback probes for this host's own error: ten a second leave a p99 after ten seconds.
LOOPBACK = ProbeSettings(interval_ms=100, timeout_ms=1_000)
_LOOPBACK_NAMES = {4: "~loopback4", 6: "~loopback6"}
_LOOPBACK_ADDRESSES = {4: "127.0.0.1", 6: "::1"}
_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
#: Any port does: a datagram socket's connect() asks the routing table and sends nothing.
_PORT_TO_ASK_A_ROUTE = 9


@dataclass(slots=True)
class Run:
    """What has been measured so far, by target name, and the loopback RTTs by family."""

    targets: Sequence[tuple[str, str]]
    slots: int
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    duplicates: dict[str, int] = field(default_factory=dict)
    loopback_ns: dict[int, list[int]] = field(default_factory=lambda: {4: [], 6: []})

    def take(self, outcome: Outcome) -> None:
        """Keep one outcome."""
        for version, name in _LOOPBACK_NAMES.items():
            if outcome.aim.name == name:
                if outcome.rtt_ns is not None:
                    self.loopback_ns[version].append(outcome.rtt_ns)
                return
        self.outcomes.setdefault(outcome.aim.name, []).append(outcome)

    def take_duplicate(self, aim: Aim, _slot: int) -> None:
        """Count a reply beyond the first."""
        self.duplicates[aim.name] = self.duplicates.get(aim.name, 0) + 1


def resolve_all(hosts: Sequence[str], family: int | None) -> list[tuple[str, str]]:
    """Each host with the one address that will be probed; an error names the host and the remedy."""
    return [(host, _resolve(host, family)) for host in hosts]


def _resolve(host: str, family: int | None) -> str:
    try:
        found = socket.getaddrinfo(host, _PORT_TO_ASK_A_ROUTE, family=_FAMILIES[family], type=socket.SOCK_DGRAM)
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


def measure(
    settings: ProbeSettings,
    slots: int,
    targets: Sequence[tuple[str, str]],
    clock: Clock,
    rng: Random,
    progress: Callable[[Run], None] | None,
) -> Run:
    """Probe every target ``slots`` times and wait for what is still out."""
    run = Run(targets, slots)
    prober = Prober(clock=clock, rng=rng, on_outcome=run.take, on_duplicate=run.take_duplicate)
    try:
        aims = [Aim(name=host, address=address, settings=settings, slots=slots) for host, address in targets]
        versions = {ipaddress.ip_address(address).version for _, address in targets}
        prober.aim([*aims, *(_loopback(version, settings, slots) for version in sorted(versions))])
        end_ns = clock.monotonic_ns() + (slots + 1) * settings.interval_ms * 1_000_000
        while (now_ns := clock.monotonic_ns()) < end_ns and not _complete(run):
            prober.run(min(now_ns + SLICE_NS, end_ns))
            if progress:
                progress(run)
        prober.drain()
    finally:
        prober.close()
    for outcomes in run.outcomes.values():
        outcomes.sort(key=lambda outcome: outcome.slot)
    return run


def _complete(run: Run) -> bool:
    return all(len(run.outcomes.get(host, ())) >= run.slots for host, _ in run.targets)


def _loopback(version: int, settings: ProbeSettings, slots: int) -> Aim:
    return Aim(
        name=_LOOPBACK_NAMES[version],
        address=_LOOPBACK_ADDRESSES[version],
        settings=LOOPBACK,
        slots=max(1, slots * settings.interval_ms // LOOPBACK.interval_ms),
    )
