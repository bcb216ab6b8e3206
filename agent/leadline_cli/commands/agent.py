"""``leadline agent``: the process that measures at a site."""

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
    parser = commands.add_parser("agent", help="measure from this host and report to a collector", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    enroll = actions.add_parser(
        "enroll",
        help="exchange a one-time token for this agent's key",
        description="Exchange a one-time token for this agent's own key and keep it in the state directory.",
        epilog="example: leadline agent enroll https://leadline.example.net --token-file fra.token --agent fra-a1",
    )
    enroll.add_argument("url", metavar="URL", help="the collector's address")
    enroll.add_argument("--token-file", required=True, metavar="FILE", help="file with the token, - for standard input")
    enroll.add_argument(
        "--agent", metavar="NAME", help="which agent of the site this is; not needed where the site has one"
    )
    enroll.add_argument(
        "--also", action="append", default=[], metavar="URL",
        help="another address of the same collector, tried in this order when the first does not answer",
    )  # fmt: skip
    enroll.add_argument(
        "--sign", action="store_true",
        help="make an Ed25519 key that stays here and sign every batch with it (needs leadline[signing])",
    )  # fmt: skip
    enroll.add_argument("--ca-file", metavar="FILE", help="certificate authority of the collector (PEM)")
    enroll.set_defaults(run=run_enroll)
    run = actions.add_parser(
        "run",
        help="measure and report until told to stop",
        description="Measure what the mesh asks of this agent and report it until SIGTERM or Ctrl-C.",
        epilog="example: leadline agent run --state-dir /var/lib/leadline",
    )
    run.add_argument(
        "--spool-mib", type=int, default=512, metavar="N",
        help="disk space for what is not yet delivered and for the last two days (default %(default)s)",
    )  # fmt: skip
    run.add_argument(
        "--policy-file", type=Path, metavar="FILE",
        help="what this host allows the agent to probe (default $LEADLINE_POLICY_FILE, or /etc/leadline/policy.toml)",
    )  # fmt: skip
    run.add_argument("--verbose", action="store_true", help="log every detail")
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
            help="where credential and plan are kept (default %(default)s)",
        )  # fmt: skip


def run_enroll(args: argparse.Namespace) -> int:
    """Enrol; the token is read from a file or standard input so that it never stands in a process list."""
    from leadline_agent.delivery.collector_client import enrol_agent
    from leadline_agent.identity.signer import generate_seed, load_signer
    from leadline_agent.identity.state_dir import Credential, StateDirectory

    seed = generate_seed() if args.sign else None
    public = None if seed is None else load_signer(seed).public_key.hex()
    answer = enrol_agent(args.url, _read_token(args.token_file), args.agent, args.ca_file, public)
    credential = Credential(
        collector=args.url,
        also=tuple(args.also),
        agent=answer.agent,
        site=answer.site,
        key=answer.key,
        ca_file=args.ca_file,
        issued_at_s=answer.issued_at_s,
        expires_at_s=answer.expires_at_s,
        signing_key=seed,
    )
    StateDirectory(args.state_dir).save_credential(credential)
    print(f"enrolled as agent {answer.agent} of site {answer.site}; start it with: leadline agent run")
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
    """Run the agent until a signal ends it."""
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
    load_policy(path, required=required)  # the probing process reads it again; a bad one is said at once
    clock, rng = SystemClock(), make_rng()
    spool = Spool(
        file_system=DirectoryFileSystem(args.state_dir / "spool"),
        clock=clock,
        make_epoch=lambda: secrets.token_hex(16),
        quota=SpoolQuota(bytes_max=args.spool_mib << 20),
    )
    sealer = BatchBuilder(credential.agent, spool, clock)
    clients = [
        CollectorClient(url, credential, state.load_credential, spool.get_backlog)
        for url in (credential.collector, *credential.also)
    ]
    loop = AgentLoop(
        agent=credential.agent,
        site=credential.site,
        uploader=Uploader(clients=clients, spool=spool, batch_builder=sealer, clock=clock, rng=rng),
        batch_builder=sealer,
        spool=spool,
        state_dir=state,
        clock=clock,
        rng=rng,
        prober_command=(*PROBER_COMMAND, *([str(args.policy_file)] if args.policy_file else [])),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.stop())
    loop.run()
    return 0
