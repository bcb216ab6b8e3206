"""``leadline token``: manage one-time tokens for the enrolment of agents."""

from __future__ import annotations

import argparse
import sys
from urllib.parse import quote

from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError
from leadline.wire import codec, control
from leadline.wire.admin import RevocationResult, TokenEntry, TokenList
from leadline_cli import api_client
from leadline_cli.commands.agent_keys import format_time


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``token`` to the command line."""
    parser = commands.add_parser(
        "token",
        help="manage one-time enrolment tokens for agents",
        description="Manage one-time tokens for the enrolment of agents.",
        epilog="example: leadline token create --site fra --ttl 24h > fra.token",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="create a token and print it",
        description="Create a one-time token and print it to standard output. It allows the enrolment of one agent of "
        "the site.",
        epilog="example: leadline token create --site fra --ttl 24h > fra.token",
    )
    create.add_argument("--site", required=True, help="site of the agent to enrol")
    create.add_argument("--ttl", default="24h", help="lifetime of the token (default 24h, at most 30d)")
    create.add_argument("--json", action="store_true", help="print token, site and expiry as JSON")
    create.set_defaults(run=run_create)
    list_parser = actions.add_parser(
        "list",
        help="list used and unused tokens",
        description="List the enrolment tokens by id, newest first. The collector does not store the tokens.",
        epilog="example: leadline token list",
    )
    list_parser.add_argument("--json", action="store_true", help="print the tokens as JSON")
    list_parser.set_defaults(run=run_list)
    revoke = actions.add_parser(
        "revoke",
        help="revoke an unused token",
        description="Revoke an unused token. An agent that has already enrolled with it keeps its key.",
        epilog="example: leadline token revoke 0123456789abcdef",
    )
    revoke.add_argument("id", metavar="ID", help="token id from `leadline token list`")
    revoke.set_defaults(run=run_revoke)
    for action in (create, list_parser, revoke):
        api_client.add_collector_options(action)


def run_create(args: argparse.Namespace) -> int:
    """Create a token and print it. The expiry goes to standard error, so that the output is only the token."""
    try:
        ttl_s = parse_duration_ms(args.ttl) // 1_000
    except ValueError as error:
        raise ConfigError("--ttl", str(error)) from error
    body = codec.encode(control.TokenRequest(site=args.site, ttl_s=ttl_s))
    response = api_client.send_admin_request(args, "POST", "/api/v1/tokens", body, control.TokenResponse)
    if args.json:
        print(codec.encode(response).decode())
    else:
        print(response.token)
        print(
            f"for one agent of site {response.site}, valid until {format_time(response.expires_at_s)}", file=sys.stderr
        )
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Print one line for each token."""
    response = api_client.send_admin_request(args, "GET", "/api/v1/tokens", b"", TokenList)
    if args.json:
        print(codec.encode(response).decode())
        return 0
    for entry in response.tokens:
        print(f"{entry.id} {entry.site:<16} {_format_state(entry)}")
    return 0


def _format_state(entry: TokenEntry) -> str:
    if entry.used_at_s is not None:
        return f"used {format_time(entry.used_at_s)}"
    if entry.revoked_at_s is not None:
        return f"revoked {format_time(entry.revoked_at_s)}"
    return f"expires {format_time(entry.expires_at_s)}"


def run_revoke(args: argparse.Namespace) -> int:
    """Revoke one token."""
    api_client.send_admin_request(args, "DELETE", f"/api/v1/tokens/{quote(args.id, safe='')}", b"", RevocationResult)
    print(f"token {args.id} revoked")
    return 0
