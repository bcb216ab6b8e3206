"""``leadline agent status``: status of the running agent as text, JSON or Prometheus text.

The agent has no HTTP server. ``--prometheus`` is for the textfile collector of node_exporter, run by a timer.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from leadline_agent.status import AgentStatus, compute_age_s, is_stale, read_status

EXIT_STALE = 1


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``status``. The caller adds ``--state-dir``."""
    parser = actions.add_parser(
        "status",
        help="show the status of the agent on this host",
        description="Print the status that the running agent writes every minute. "
        "Exit status 1 if the status is older than two and a half minutes: the agent is down or hangs.",
        epilog="example: leadline agent status --prometheus > /var/lib/node_exporter/leadline.prom",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the status as JSON")
    form.add_argument(
        "--prometheus", action="store_true", help="print metrics for the textfile collector of node_exporter"
    )
    parser.set_defaults(run=run_status)
    return parser


def run_status(args: argparse.Namespace) -> int:
    """Print the status; return 1 if it is stale."""
    from leadline.clock import SystemClock

    status, now_s = read_status(args.state_dir), SystemClock().wall_ns() // 1_000_000_000
    if args.json:
        print(format_json(status, now_s))
    else:
        print("\n".join(format_prometheus_lines(status) if args.prometheus else format_lines(status, now_s)))
    return EXIT_STALE if is_stale(status, now_s) else 0


def format_json(status: AgentStatus, now_s: int) -> str:
    """Format the status with its age in seconds and whether it is stale."""
    freshness = {"age_s": compute_age_s(status, now_s), "stale": is_stale(status, now_s)}
    document = msgspec.to_builtins(status) | freshness
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def format_lines(status: AgentStatus, now_s: int) -> Iterator[str]:
    """Yield the lines of the status as text."""
    age = f"written {compute_age_s(status, now_s)} s ago"
    yield f"agent {status.agent} of site {status.site}, leadline {status.version}, process {status.process_id}: {age}"
    if is_stale(status, now_s):
        yield "  STALE: the status is too old; check that the agent runs, and its log"
    plan = "none yet" if status.plan_version is None else f"version {status.plan_version}, {status.targets} targets"
    refused = f", {status.targets_refused} refused by the local policy" if status.targets_refused else ""
    yield f"  running    since {_format_time(status.started_at_s)}"
    yield f"  plan       {plan}{refused}"
    yield f"  measured   until {_format_time(status.sealed_until_s)}"
    yield f"  collector  {status.collector}; last acknowledgement {_format_time(status.last_ack_at_s)}"
    if status.last_error is not None:
        failures = f"{status.failures} failures in a row"
        yield f"  last error {_format_time(status.last_error_at_s)}: {status.last_error}; {failures}"
    if status.cloned_at_s is not None:
        yield f"  IDENTITY IN USE TWICE since {_format_time(status.cloned_at_s)}: enrol this agent or its copy again"
    yield from _format_key_lines(status)
    yield from _format_spool_lines(status)
    yield from _format_host_lines(status)


def _format_key_lines(status: AgentStatus) -> Iterator[str]:
    if status.key_expires_at_s is not None:
        yield f"  key        expires {_format_time(status.key_expires_at_s)}"
    if status.key_error is not None:
        attempts = f"{status.key_failures} attempts, the last {_format_time(status.key_failed_at_s)}"
        yield f"             NOT ROTATED after {attempts}: {status.key_error}"


def _format_spool_lines(status: AgentStatus) -> Iterator[str]:
    spool = status.spool
    yield (
        f"  spool      {spool.unacked} batches to send, {spool.acked} delivered and kept, {spool.dead} refused; "
        f"{spool.bytes / 1e6:.1f} of {spool.bytes_max / 1e6:.1f} MB"
    )
    if spool.oldest_unacked_s is not None:
        left = "unknown" if spool.days_left is None else f"{spool.days_left:.1f} days"
        yield f"             the oldest is {spool.oldest_unacked_s} s old; space for {left} more"
    if spool.unreadable:
        yield f"             {spool.unreadable} of them CANNOT BE READ: check the disk; retried every minute"
    if spool.degraded is not None:
        yield f"             IN MEMORY ONLY: {spool.degraded}"


def _format_host_lines(status: AgentStatus) -> Iterator[str]:
    prober, clock = status.prober, status.clock
    yield (
        f"  probes     {prober.sent} sent, {prober.received} received, {prober.duplicates} duplicates, "
        f"{prober.strays} strays"
    )
    yield (
        f"  this host  {prober.stalls} stalls, {prober.clock_steps} clock steps, {prober.dropped} packets "
        f"dropped, {prober.withheld} over the rate limit, {prober.lag_ns_max / 1e6:.1f} ms send delay at most"
    )
    if clock is None:
        yield "  clock      unknown to the kernel"
    else:
        state = "synchronised" if clock.synchronised else "NOT SYNCHRONISED"
        yield f"  clock      {state}, maximum error {clock.max_error_us / 1e3:.1f} ms"
    if status.clock_offset_us is not None:
        error_ms = (status.clock_offset_error_us or 0) / 1e3
        yield f"             {status.clock_offset_us / 1e3:+.1f} ± {error_ms:.1f} ms relative to the collector"


def _format_time(at_s: int | None) -> str:
    return "never" if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


class _PrometheusMetric(NamedTuple):
    name: str
    kind: str
    help: str
    value: float | None


def format_prometheus_lines(status: AgentStatus) -> Iterator[str]:
    """Yield the lines of the Prometheus text format 0.0.4. Unknown values are omitted, never 0."""
    labels = ",".join(
        f"{name}={_quote_label(value)}" for name, value in (("agent", status.agent), ("site", status.site))
    )
    for metric in _build_metrics(status):
        if metric.value is not None:
            name = f"leadline_agent_{metric.name}"
            yield f"# HELP {name} {metric.help}"
            yield f"# TYPE {name} {metric.kind}"
            yield f"{name}{{{labels}}} {metric.value}"


def _quote_label(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _build_metrics(status: AgentStatus) -> list[_PrometheusMetric]:
    spool, prober, clock = status.spool, status.prober, status.clock
    offset_us = status.clock_offset_us
    return [
        _PrometheusMetric("status_time_seconds", "gauge", "Time of the last status update.", status.written_at_s),
        _PrometheusMetric("start_time_seconds", "gauge", "Start time of the agent.", status.started_at_s),
        _PrometheusMetric("plan_version", "gauge", "Mesh version of the current plan.", status.plan_version),
        _PrometheusMetric("targets", "gauge", "Number of targets in the plan.", status.targets),
        _PrometheusMetric(
            "targets_refused", "gauge", "Number of targets refused by the local policy.", status.targets_refused
        ),
        _PrometheusMetric("sealed_until_seconds", "gauge", "End of the latest complete window.", status.sealed_until_s),
        _PrometheusMetric(
            "last_ack_time_seconds", "gauge", "Time of the last acknowledged batch.", status.last_ack_at_s
        ),
        _PrometheusMetric("upload_failures", "gauge", "Consecutive failed uploads.", status.failures),
        _PrometheusMetric(
            "identity_conflict_time_seconds",
            "gauge",
            "Time at which a copy of this agent was detected.",
            status.cloned_at_s,
        ),
        _PrometheusMetric(
            "key_expires_time_seconds", "gauge", "Expiry time of the agent's key.", status.key_expires_at_s
        ),
        _PrometheusMetric("key_rotation_failures", "gauge", "Consecutive failed key rotations.", status.key_failures),
        _PrometheusMetric("spool_bytes", "gauge", "Size of the spool in bytes.", spool.bytes),
        _PrometheusMetric("spool_bytes_max", "gauge", "Maximum size of the spool in bytes.", spool.bytes_max),
        _PrometheusMetric("spool_batches_waiting", "gauge", "Batches not acknowledged yet.", spool.unacked),
        _PrometheusMetric("spool_batches_in_memory", "gauge", "Batches not on disk yet.", spool.pending),
        _PrometheusMetric("spool_batches_refused", "gauge", "Batches that the collector refused.", spool.dead),
        _PrometheusMetric(
            "spool_batches_unreadable", "gauge", "Unacknowledged batches with read errors.", spool.unreadable
        ),
        _PrometheusMetric(
            "spool_oldest_waiting_seconds", "gauge", "Age of the oldest unacknowledged window.", spool.oldest_unacked_s
        ),
        _PrometheusMetric(
            "spool_days_left", "gauge", "Days until the spool is full and drops batches.", spool.days_left
        ),
        _PrometheusMetric(
            "spool_degraded", "gauge", "1 while new batches are only in memory.", int(spool.degraded is not None)
        ),
        _PrometheusMetric("probes_sent_total", "counter", "Probes sent.", prober.sent),
        _PrometheusMetric("probes_received_total", "counter", "Replies that match a probe.", prober.received),
        _PrometheusMetric("duplicates_total", "counter", "Replies beyond the first.", prober.duplicates),
        _PrometheusMetric("strays_total", "counter", "Replies that match no probe.", prober.strays),
        _PrometheusMetric("packets_dropped_total", "counter", "Packets lost to a full receive queue.", prober.dropped),
        _PrometheusMetric(
            "packets_withheld_total", "counter", "Slots not sent because of the packet rate limit.", prober.withheld
        ),
        _PrometheusMetric("stalls_total", "counter", "Stalls of this host.", prober.stalls),
        _PrometheusMetric("clock_steps_total", "counter", "Steps of the wall clock.", prober.clock_steps),
        _PrometheusMetric(
            "send_lag_seconds_max", "gauge", "Longest delay of a send behind its schedule.", prober.lag_ns_max / 1e9
        ),
        _PrometheusMetric(
            "clock_synchronised",
            "gauge",
            "1 if NTP synchronises the clock.",
            None if clock is None else int(clock.synchronised),
        ),
        _PrometheusMetric(
            "clock_error_seconds_max",
            "gauge",
            "Maximum clock error as reported by the kernel.",
            None if clock is None else clock.max_error_us / 1e6,
        ),
        _PrometheusMetric(
            "clock_offset_seconds",
            "gauge",
            "Agent clock minus collector clock.",
            None if offset_us is None else offset_us / 1e6,
        ),
    ]
