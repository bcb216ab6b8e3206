"""``leadline agent rotate|list|revoke``: manage the keys of agents."""

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
    """Add ``rotate``. The caller adds ``--state-dir``."""
    parser = actions.add_parser(
        "rotate",
        help="exchange this agent's key for a new one",
        description="Get a new key for this agent, store it and use it once. The collector then refuses the old key. "
        "A running agent starts to use the new key without a restart. It also rotates its key before the key expires.",
        epilog="example: leadline agent rotate --state-dir /var/lib/leadline-agent",
    )
    parser.add_argument(
        "--sign", action="store_true",
        help="also create a new signing key, endorsed by the current one; an agent without one starts to sign",
    )  # fmt: skip
    parser.set_defaults(run=run_rotate)
    return parser


def add_admin_parsers(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``list`` and ``revoke``."""
    list_parser = actions.add_parser(
        "list",
        help="list the agents of a collector and their keys",
        description="List every agent with its number of valid keys and the end of its latest window.",
        epilog="example: leadline agent list --collector https://leadline.example.net",
    )
    list_parser.add_argument("--json", action="store_true", help="print agents and keys as JSON")
    list_parser.set_defaults(run=run_list)
    revoke_parser = actions.add_parser(
        "revoke",
        help="revoke all keys of an agent",
        description="Revoke all keys of an agent. The collector refuses its next request. With a new token, the agent "
        "can enrol again.",
        epilog="example: leadline agent revoke fra-a1",
    )
    revoke_parser.add_argument("agent", metavar="NAME", help="name of the agent")
    revoke_parser.set_defaults(run=run_revoke)
    for action in (list_parser, revoke_parser):
        api_client.add_collector_options(action)


def run_rotate(args: argparse.Namespace) -> int:
    """Rotate the key. The new key is on disk before its first use; the old key is valid until then."""
    from leadline_agent.identity.key_rotation import rotate_key
    from leadline_agent.identity.state_dir import StateDirectory

    state = StateDirectory(args.state_dir)
    error = rotate_key(state, with_signing_key=args.sign)
    if error is None:
        print("this agent has a new key; the collector now refuses the old one")
    else:
        print(
            f"this agent has a new key; the old one stays valid, because the first use of the new one failed: {error}"
        )
    if args.sign:
        print_signing_key(state.load_credential())
    return 0


def print_signing_key(credential: Credential) -> None:
    """Print the line for ``leadline collector verify --trusted-keys``, if the agent signs."""
    from leadline_agent.identity.signer import load_signer

    if credential.signing_key is not None:
        public = load_signer(credential.signing_key).public_key
        print(f"it signs with key {derive_key_id(public)}; line for `leadline collector verify --trusted-keys`:")
        print(f"{credential.agent} {public.hex()}")


def run_list(args: argparse.Namespace) -> int:
    """Print one line for each agent."""
    response = api_client.send_admin_request(args, "GET", "/api/v1/agents", b"", AgentList)
    if args.json:
        print(codec.encode(response).decode())
        return 0
    for entry in response.agents:
        print(_format_agent(entry))
    return 0


def _format_agent(entry: AgentEntry) -> str:
    keys = "1 key" if len(entry.keys) == 1 else f"{len(entry.keys)} keys" if entry.keys else "no key"
    latest = "no data yet" if entry.latest_s is None else f"data until {format_time(entry.latest_s)}"
    expiries = [key.expires_at_s for key in entry.keys if key.expires_at_s is not None]
    signs = ", signs" if entry.signing_keys else ""
    end = f", key expires {format_time(max(expiries))}" if expiries else ""
    return f"{entry.name:<24} {entry.site:<16} {keys:<7} {latest}{end}{signs}"


def run_revoke(args: argparse.Namespace) -> int:
    """Revoke all keys of an agent and print their number."""
    path = f"/api/v1/agents/{quote(args.agent, safe='')}/keys"
    response = api_client.send_admin_request(args, "DELETE", path, b"", RevocationResult)
    print(f"revoked {response.revoked} keys of agent {args.agent}; the collector refuses its next request")
    return 0


def format_time(time_s: int) -> str:
    """Format a time for people, in UTC."""
    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M} UTC"
