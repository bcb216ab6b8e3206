"""``leadline agent doctor``: looks at everything an agent needs, a line each, with the remedy."""

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
    """Add ``doctor``; the caller adds the state directory."""
    parser = actions.add_parser(
        "doctor",
        help="look at everything the agent needs",
        description="Check permissions, kernel, policy, disk, clock, names, collector and targets, and say what to do. "
        "Nothing is changed and nothing is stored. Exit status 1 when something fails; warnings alone are 0.",
        epilog="example: leadline agent doctor --state-dir /var/lib/leadline-agent",
    )
    parser.add_argument("--policy-file", metavar="FILE", type=Path, help="the local policy ($LEADLINE_POLICY_FILE)")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(run=run_doctor)
    return parser


def run_doctor(args: argparse.Namespace) -> int:
    """Look, print, and tell by the exit status whether the agent can work."""
    import msgspec

    found: list[Diagnostic] = []
    for finding in run_checks(args.state_dir, args.policy_file):
        found.append(finding)
        if not args.json:
            print(finding.format_line(), flush=True)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    return 1 if any(finding.level is DiagnosticLevel.FAIL for finding in found) else 0


def run_checks(state_dir: Path, policy_path: Path | None) -> Iterator[Diagnostic]:
    """Every finding, in the order of what depends on what."""
    from leadline.clock import SystemClock
    from leadline_agent.host_clock import read_clock_state
    from leadline_agent.identity.state_dir import StateDirectory
    from leadline_agent.probe.policy_file import locate_policy_file
    from leadline_cli.doctor import host as doctor_host

    clock = SystemClock()
    yield from doctor_host.check_icmp(clock)
    yield from doctor_host.check_sysctls()
    about_policy, policy = doctor_host.check_local_policy(*locate_policy_file(os.environ, policy_path))
    yield about_policy
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
    about_signing, signer = doctor_keys.check_signing(credential)
    yield from about_signing
    yield from doctor_keys.check_key_expiry(credential, status, clock.wall_ns() // 1_000_000_000)
    yield from doctor_network.check_connection(credential, clock)
    asking = doctor_network.DoctorClient(credential, clock, signer)
    about_credential, plan = asking.fetch_plan()
    yield about_credential
    if plan is not None:
        yield asking.send_dry_post()
    plan = plan or state.load_plan()
    if plan is None or not plan.targets:
        yield warn("plan", "there is nothing to probe", "name this agent in the mesh: leadline mesh apply FILE")
        return
    about_names, addresses = doctor_network.check_dns(plan)
    yield from about_names
    if policy is not None:
        refused, addresses = doctor_network.check_target_policy(addresses, policy)
        yield from refused
        yield from doctor_network.check_targets(addresses, clock, make_rng())
