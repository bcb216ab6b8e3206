"""``leadline agent doctor``: checks everything an agent needs; one line with a remedy for each check."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from leadline_cli.doctor.report import Diagnostic, DiagnosticLevel, fail, warn

if TYPE_CHECKING:
    from leadline_agent.identity.state_dir import StateDirectory
    from leadline_agent.probe.policy_file import LocalPolicy
    from leadline_agent.status import AgentStatus


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``doctor``. The caller adds ``--state-dir``."""
    parser = actions.add_parser(
        "doctor",
        help="check everything the agent needs",
        description="Check permissions, kernel, policy, disk, clock, DNS, collector and targets, and print remedies. "
        "The command changes and stores nothing. Exit status 1 if a check fails; 0 with warnings only.",
        epilog="example: leadline agent doctor --state-dir /var/lib/leadline-agent",
    )
    parser.add_argument(
        "--policy-file",
        metavar="FILE",
        type=Path,
        help="local policy file (default $LEADLINE_POLICY_FILE, or /etc/leadline/policy.toml)",
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.set_defaults(run=run_doctor)
    return parser


def run_doctor(args: argparse.Namespace) -> int:
    """Run the checks and print the results; return 1 if one fails."""
    import msgspec

    diagnostics: list[Diagnostic] = []
    for diagnostic in run_checks(args.state_dir, args.policy_file):
        diagnostics.append(diagnostic)
        if not args.json:
            print(diagnostic.format_line(), flush=True)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(diagnostics)).decode())
    return 1 if any(diagnostic.level is DiagnosticLevel.FAIL for diagnostic in diagnostics) else 0


def run_checks(state_dir: Path, policy_path: Path | None) -> Iterator[Diagnostic]:
    """Yield the results of all checks, prerequisites first."""
    from leadline.clock import SystemClock
    from leadline_agent.host_clock import read_clock_state
    from leadline_agent.identity.state_dir import StateDirectory
    from leadline_agent.probe.policy_file import locate_policy_file
    from leadline_cli.doctor import host as doctor_host

    clock = SystemClock()
    yield from doctor_host.check_icmp(clock)
    yield from doctor_host.check_sysctls()
    policy_diagnostic, policy = doctor_host.check_local_policy(*locate_policy_file(os.environ, policy_path))
    yield policy_diagnostic
    yield from doctor_host.check_state_directory(state_dir)
    status = _load_status(state_dir)
    yield from doctor_host.check_running_agent(status, clock.wall_ns() // 1_000_000_000)
    yield doctor_host.check_host_clock(read_clock_state())
    yield from _check_connectivity(StateDirectory(state_dir), policy, status)


def _load_status(directory: Path) -> AgentStatus | None:
    from leadline.errors import ConfigError
    from leadline_agent.status import read_status

    try:
        return read_status(directory)
    except ConfigError:
        return None


def _check_connectivity(
    state: StateDirectory, policy: LocalPolicy | None, status: AgentStatus | None
) -> Iterator[Diagnostic]:
    from leadline.clock import SystemClock, make_rng
    from leadline.errors import ConfigError
    from leadline_cli.doctor import keys as doctor_keys
    from leadline_cli.doctor import network as doctor_network

    clock = SystemClock()
    try:
        credential = state.load_credential()
    except ConfigError as error:
        yield fail("credential", str(error), "leadline token create --site SITE, then leadline agent enroll")
        return
    signing_diagnostics, signer = doctor_keys.check_signing(credential)
    yield from signing_diagnostics
    yield from doctor_keys.check_key_expiry(credential, status, clock.wall_ns() // 1_000_000_000)
    yield from doctor_network.check_connection(credential, clock)
    client = doctor_network.DoctorClient(credential, clock, signer)
    credential_diagnostic, plan = client.fetch_plan()
    yield credential_diagnostic
    if plan is not None:
        yield client.send_dry_post()
    plan = plan or state.load_plan()
    if plan is None or not plan.targets:
        yield warn("plan", "no targets to probe", "add this agent to the mesh: leadline mesh apply FILE")
        return
    dns_diagnostics, addresses = doctor_network.check_dns(plan)
    yield from dns_diagnostics
    if policy is not None:
        policy_diagnostics, addresses = doctor_network.check_target_policy(addresses, policy)
        yield from policy_diagnostics
        yield from doctor_network.check_targets(addresses, clock, make_rng())
