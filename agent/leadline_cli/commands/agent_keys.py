"""``leadline agent rotate|list|revoke``: the keys of agents, seen to by the agent and by the administrator."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from leadline.wire import codec
from leadline.wire.admin import AgentEntry, AgentList, RevocationResult
from leadline.wire.signing import derive_key_id
from leadline_cli import api_client

if TYPE_CHECKING:
    from leadline_agent.identity.state_dir import Credential


def add_rotate_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``rotate``; the caller adds the state directory."""
    rotate = actions.add_parser(
        "rotate",
        help="exchange this agent's key for a new one",
        description="Get a new key for this agent, keep it and use it once; from then on the old key is refused. "
        "A running agent takes the new key up by itself, and asks for one by itself before its key ends.",
        epilog="example: leadline agent rotate --state-dir /var/lib/leadline-agent",
    )
    rotate.add_argument(
        "--sign", action="store_true",
        help="a new signing key too, endorsed by the one before; where there is none, the agent signs from now on",
    )  # fmt: skip
    rotate.set_defaults(run=run_rotate)
    return rotate


def add_admin_parsers(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``list`` and ``revoke``."""
    listed = actions.add_parser(
        "list",
        help="show the agents of a collector with their keys",
        description="Show every agent, how many keys open for it, and when its latest window ended.",
        epilog="example: leadline agent list --collector https://leadline.example.net",
    )
    listed.add_argument("--json", action="store_true", help="print agents and keys as JSON")
    listed.set_defaults(run=run_list)
    revoke = actions.add_parser(
        "revoke",
        help="end every key of an agent",
        description="End every key of an agent: its next request is refused. With a new token it may enrol again.",
        epilog="example: leadline agent revoke fra-a1",
    )
    revoke.add_argument("agent", metavar="NAME", help="the agent")
    revoke.set_defaults(run=run_revoke)
    for action in (listed, revoke):
        api_client.add_collector_options(action)


def run_rotate(args: argparse.Namespace) -> int:
    """Rotate: the new key is on disk before it is used, and the old one good until then."""
    from leadline_agent.identity.key_rotation import rotate_key
    from leadline_agent.identity.state_dir import StateDirectory

    state = StateDirectory(args.state_dir)
    unused = rotate_key(state, with_signing_key=args.sign)
    if unused is None:
        print("this agent has a new key; the old one is refused from now on")
    else:
        print(f"this agent has a new key; the old one is good until the new one is used, which failed now: {unused}")
    if args.sign:
        print_signing_key(state.load_credential())
    return 0


def print_signing_key(credential: Credential) -> None:
    """The line with which somebody who trusts no database can check this agent's batches."""
    from leadline_agent.identity.signer import load_signer

    if credential.signing_key is not None:
        public = load_signer(credential.signing_key).public_key
        print(f"it signs with key {derive_key_id(public)}; for `leadline collector verify --trusted-keys`:")
        print(f"{credential.agent} {public.hex()}")


def run_list(args: argparse.Namespace) -> int:
    """Print one line an agent."""
    answer = api_client.send_admin_request(args, "GET", "/api/v1/agents", b"", AgentList)
    if args.json:
        print(codec.encode(answer).decode())
        return 0
    for entry in answer.agents:
        print(_format_agent(entry))
    return 0


def _format_agent(entry: AgentEntry) -> str:
    keys = "1 key" if len(entry.keys) == 1 else f"{len(entry.keys)} keys" if entry.keys else "no key"
    latest = "never delivered" if entry.latest_s is None else f"delivered until {format_time(entry.latest_s)}"
    ends = [key.expires_at_s for key in entry.keys if key.expires_at_s is not None]
    signs = ", signs" if entry.signing_keys else ""
    end = f", key ends {format_time(max(ends))}" if ends else ""
    return f"{entry.name:<24} {entry.site:<16} {keys:<7} {latest}{end}{signs}"


def run_revoke(args: argparse.Namespace) -> int:
    """Revoke, and say how many keys that ended."""
    path = f"/api/v1/agents/{quote(args.agent, safe='')}/keys"
    answer = api_client.send_admin_request(args, "DELETE", path, b"", RevocationResult)
    print(f"{answer.revoked} keys of agent {args.agent} revoked; its next request is refused")
    return 0


def format_time(time_s: int) -> str:
    """A time as people read it."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M} UTC"
