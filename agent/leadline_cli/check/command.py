"""``leadline check``: measure from this host now and evaluate. Needs no server and writes no files."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from datetime import UTC, datetime

from leadline.clock import SystemClock, make_rng
from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError
from leadline.limits.catalogue import load_catalogue
from leadline.model import DSCP_MAX, INTERVAL_MS_MIN, ProbeSettings, Site
from leadline_cli.check.evaluation import CheckRequest

#: The three most common limits: between clusters, within a cluster, and for its storage.
PROFILES_DEFAULT = ("vsphere-long-distance-vmotion", "vcf9-stretched-cluster", "vsan-stretched")
DURATION_MS_MAX = 86_400_000
#: Use an agent for more hosts.
HOSTS_MAX = 100

_EXAMPLES = """\
examples:
  leadline check 192.0.2.10
  leadline check fra-esx1.example.net lon-esx1.example.net --profile vsan-stretched --duration 5m
  leadline check 192.0.2.10 --from 50.11,8.68 --to 51.51,-0.13 --json

exit status: 0 within limits so far, 1 a limit is exceeded, 2 not measured, or an error"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``check`` to the command line."""
    parser = commands.add_parser(
        "check",
        help="measure now and evaluate against limits, without a server",
        description="Measure the round-trip time from this host to others and show which published limits it exceeds.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="address or name of a host that answers ping")
    parser.add_argument(
        "--profile", action="append", metavar="ID", dest="profiles",
        help="profile or limit from `leadline limits list`; repeatable "
        f"(default: {', '.join(PROFILES_DEFAULT)})",
    )  # fmt: skip
    parser.add_argument("--duration", default="60s", help="how long to measure (default %(default)s)")
    parser.add_argument("--interval", default="1s", help="time between probes to one host (default %(default)s)")
    parser.add_argument("--dscp", type=int, default=0, metavar="N", help="DSCP of the probes, 0 to 63 (default 0)")
    parser.add_argument("--size", type=int, default=56, metavar="N", help="payload in bytes (default %(default)s)")
    parser.add_argument("--df", action="store_true", help="set DF (no fragmentation), to test an MTU with --size")
    family = parser.add_mutually_exclusive_group()
    family.add_argument("-4", dest="family", action="store_const", const=4, help="resolve names to IPv4 only")
    family.add_argument("-6", dest="family", action="store_const", const=6, help="resolve names to IPv6 only")
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="LAT,LON",
        help="coordinates of this host, for the check against the propagation delay",
    )
    parser.add_argument("--to", dest="end", metavar="LAT,LON", help="coordinates of the target hosts")
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/check.md)")
    parser.set_defaults(run=run_check)


def run_check(args: argparse.Namespace) -> int:
    """Measure, evaluate and print; return the exit status."""
    from leadline_cli.check import evaluation, measurement
    from leadline_cli.check import text as check_text

    request = _parse_request(args)
    profiles = [load_catalogue().get_profile(profile) for profile in request.profiles]
    targets = measurement.resolve_hosts(request.hosts, request.family)
    clock = SystemClock()
    started_at = datetime.fromtimestamp(clock.wall_ns() / 1e9, UTC)
    with check_text.show_progress(request.slots) if sys.stderr.isatty() else nullcontext() as progress:
        run = measurement.measure_targets(request.settings, request.slots, targets, clock, make_rng(), progress)
    document = evaluation.build_document(request, profiles, load_catalogue(), run, started_at)
    if args.json:
        print(check_text.format_json(document))
    else:
        print(check_text.format_report(document))
    return evaluation.compute_exit_status(document)


def _parse_request(args: argparse.Namespace) -> CheckRequest:
    if len(args.hosts) > HOSTS_MAX:
        raise ConfigError("HOST", f"{len(args.hosts)} hosts; the maximum for a check is {HOSTS_MAX}")
    interval_ms = _parse_duration("--interval", args.interval, INTERVAL_MS_MIN, 60_000)
    duration_ms = _parse_duration("--duration", args.duration, interval_ms, DURATION_MS_MAX)
    return CheckRequest(
        hosts=tuple(dict.fromkeys(args.hosts)),
        profiles=tuple(dict.fromkeys(args.profiles or PROFILES_DEFAULT)),
        settings=_parse_settings(args, interval_ms),
        slots=duration_ms // interval_ms,
        family=args.family,
        sites=_parse_sites(args.origin, args.end),
    )


def _parse_duration(option: str, text: str, least_ms: int, most_ms: int) -> int:
    try:
        duration_ms = parse_duration_ms(text)
    except ValueError as error:
        raise ConfigError(option, str(error)) from error
    if not least_ms <= duration_ms <= most_ms:
        raise ConfigError(option, f"{text} is outside {least_ms} ms to {most_ms} ms")
    return duration_ms


def _parse_settings(args: argparse.Namespace, interval_ms: int) -> ProbeSettings:
    if not 0 <= args.dscp <= DSCP_MAX:
        raise ConfigError("--dscp", f"{args.dscp} is outside 0 to {DSCP_MAX}")
    try:
        return ProbeSettings(interval_ms=interval_ms, payload_bytes=args.size, dscp=args.dscp, dont_fragment=args.df)
    except ValueError as error:
        option = "--size" if "payload" in str(error) else "--interval"
        raise ConfigError(option, str(error)) from error


def _parse_sites(origin: str | None, end: str | None) -> tuple[Site, Site] | None:
    if origin is None and end is None:
        return None
    if origin is None or end is None:
        raise ConfigError("--from and --to", "the propagation delay needs both ends: pass both options, or neither")
    return _parse_site("from", origin), _parse_site("to", end)


def _parse_site(name: str, text: str) -> Site:
    """Convert coordinates to a site.

    The uncertainty is half a unit of the last decimal, at 111 km a degree, and at least 1 km.
    """
    try:
        latitude, longitude = text.split(",")
        decimals = min(len(part.strip().partition(".")[2]) for part in (latitude, longitude))
        return Site(
            name=name,
            latitude_deg=float(latitude),
            longitude_deg=float(longitude),
            uncertainty_km=max(1.0, 111.0 * 0.5 / 10**decimals),
        )
    except ValueError as error:
        raise ConfigError(f"--{name}", f"{text!r} is not LAT,LON in degrees, such as 50.11,8.68 ({error})") from error
