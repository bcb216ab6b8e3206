"""``leadline agent``: measure at a site and report to a collector."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from pathlib import Path

from leadline.errors import ConfigError
from leadline.user_dirs import resolve_state_dir
from leadline_cli.commands import agent_keys, agent_status
from leadline_cli.doctor import command as doctor_command


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``agent`` to the command line."""
    parser = commands.add_parser(
        "agent",
        help="measure from this host and report to a collector",
        description="Enrol, run, diagnose and administer measuring agents.",
        epilog="example: leadline agent run --state-dir /var/lib/leadline-agent",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    enroll = actions.add_parser(
        "enroll",
        help="exchange a one-time token for this agent's key",
        description="Exchange a one-time token for the key of this agent and store the key in the state directory.",
        epilog="example: leadline agent enroll https://leadline.example.net --token-file fra.token --agent fra-a1",
    )
    enroll.add_argument("url", metavar="URL", help="URL of the collector")
    enroll.add_argument("--token-file", required=True, metavar="FILE", help="file with the token; - for standard input")
    enroll.add_argument(
        "--agent", metavar="NAME", help="name of this agent; needed only if the site has several agents"
    )
    enroll.add_argument(
        "--also", action="append", default=[], metavar="URL",
        help="another URL of the same collector, tried if the previous ones do not respond; repeatable",
    )  # fmt: skip
    enroll.add_argument(
        "--sign", action="store_true",
        help="create an Ed25519 key on this host and sign every batch with it (needs leadline[signing])",
    )  # fmt: skip
    enroll.add_argument("--ca-file", metavar="FILE", help="CA certificate for the collector's TLS certificate (PEM)")
    enroll.set_defaults(run=run_enroll)
    run = actions.add_parser(
        "run",
        help="measure and report until stopped",
        description="Measure the targets that the mesh assigns to this agent, and report until SIGTERM or Ctrl-C.",
        epilog="example: leadline agent run --state-dir /var/lib/leadline-agent",
    )
    run.add_argument(
        "--spool-mib", type=int, default=512, metavar="N",
        help="disk space in MiB for undelivered batches and the delivered ones of two days (default %(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--policy-file", type=Path, metavar="FILE",
        help="limits on the targets and the rate of this agent (default $LEADLINE_POLICY_FILE, or "
        "/etc/leadline/policy.toml)",
    )  # fmt: skip
    run.add_argument("--verbose", action="store_true", help="log at debug level")
    run.set_defaults(run=run_agent)
    agent_keys.add_admin_parsers(actions)
    for action in (
        enroll,
        run,
        agent_keys.add_rotate_parser(actions),
        doctor_command.add_parser(actions),
        agent_status.add_parser(actions),
    ):
        action.add_argument(
            "--state-dir", metavar="DIR", type=Path, default=resolve_state_dir(os.environ),
            help="directory of credential, plan and spool (default %(default)s)",
        )  # fmt: skip


def run_enroll(args: argparse.Namespace) -> int:
    """Enrol this agent. The token comes from a file or standard input, so that it is not in the process list."""
    from leadline_agent.delivery.collector_client import enrol_agent
    from leadline_agent.identity.signer import generate_seed, load_signer
    from leadline_agent.identity.state_dir import Credential, StateDirectory

    seed = generate_seed() if args.sign else None
    public = None if seed is None else load_signer(seed).public_key.hex()
    response = enrol_agent(args.url, _read_token(args.token_file), args.agent, args.ca_file, public)
    credential = Credential(
        collector=args.url,
        also=tuple(args.also),
        agent=response.agent,
        site=response.site,
        key=response.key,
        ca_file=args.ca_file,
        issued_at_s=response.issued_at_s,
        expires_at_s=response.expires_at_s,
        signing_key=seed,
    )
    StateDirectory(args.state_dir).save_credential(credential)
    print(f"enrolled as agent {response.agent} of site {response.site}; start it with: leadline agent run")
    agent_keys.print_signing_key(credential)
    return 0


def _read_token(source: str) -> str:
    try:
        text = sys.stdin.read(1_024) if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--token-file", f"cannot read {source}: {error}") from error
    if not text.strip():
        raise ConfigError("--token-file", f"{source} is empty; `leadline token create --site SITE` prints a token")
    return text.strip()


def run_agent(args: argparse.Namespace) -> int:
    """Run the agent until SIGTERM or SIGINT."""
    from leadline.clock import SystemClock, make_rng
    from leadline_agent.agent import AgentLoop
    from leadline_agent.delivery.batch_builder import BatchBuilder
    from leadline_agent.delivery.collector_client import CollectorClient
    from leadline_agent.delivery.uploader import Uploader
    from leadline_agent.identity.state_dir import StateDirectory
    from leadline_agent.probe.policy_file import load_policy, locate_policy_file
    from leadline_agent.probe.process import PROBER_COMMAND
    from leadline_agent.spool.filesystem import DirectoryFileSystem
    from leadline_agent.spool.quota import SpoolQuota
    from leadline_agent.spool.spool import Spool
    from leadline_cli.log_format import log_to_stderr

    log_to_stderr(verbose=args.verbose)
    state = StateDirectory(args.state_dir)
    credential = state.load_credential()
    path, required = locate_policy_file(os.environ, args.policy_file)
    load_policy(path, required=required)  # Fail early on a bad policy; the prober process reads it again.
    clock, rng = SystemClock(), make_rng()
    spool = Spool(
        file_system=DirectoryFileSystem(args.state_dir / "spool"),
        clock=clock,
        make_epoch=lambda: secrets.token_hex(16),
        quota=SpoolQuota(bytes_max=args.spool_mib << 20),
    )
    batch_builder = BatchBuilder(credential.agent, spool, clock)
    clients = [
        CollectorClient(url, credential, state.load_credential, spool.get_backlog)
        for url in (credential.collector, *credential.also)
    ]
    loop = AgentLoop(
        agent=credential.agent,
        site=credential.site,
        uploader=Uploader(clients=clients, spool=spool, batch_builder=batch_builder, clock=clock, rng=rng),
        batch_builder=batch_builder,
        spool=spool,
        state_dir=state,
        clock=clock,
        rng=rng,
        prober_command=(*PROBER_COMMAND, *([str(args.policy_file)] if args.policy_file else [])),
    )
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: loop.stop())
    loop.run()
    return 0
