"""``leadline token``: one-time tokens with which agents enrol."""

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
    parser = commands.add_parser("token", help="make one-time tokens for agents", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser(
        "create",
        help="print a one-time token",
        description="Print a one-time token on standard output; whoever has it can enrol one agent of the site.",
        epilog="example: leadline token create --site fra --ttl 24h > fra.token",
    )
    create.add_argument("--site", required=True, help="the site whose agent may enrol with it")
    create.add_argument("--ttl", default="24h", help="how long it is good for (default 24h, at most 30d)")
    create.add_argument("--json", action="store_true", help="print token, site and expiry as JSON")
    create.set_defaults(run=run_create)
    listed = actions.add_parser(
        "list",
        help="show the tokens, used or not",
        description="Show the enrolment tokens by their ids, newest first; the tokens themselves are kept nowhere.",
        epilog="example: leadline token list",
    )
    listed.add_argument("--json", action="store_true", help="print the tokens as JSON")
    listed.set_defaults(run=run_list)
    revoke = actions.add_parser(
        "revoke",
        help="end a token that was not used yet",
        description="End a token that was not used yet; an agent that has enrolled with it keeps its key.",
        epilog="example: leadline token revoke 0123456789abcdef",
    )
    revoke.add_argument("id", metavar="ID", help="as `leadline token list` shows it")
    revoke.set_defaults(run=run_revoke)
    for action in (create, listed, revoke):
        api_client.add_collector_options(action)


def run_create(args: argparse.Namespace) -> int:
    """Make a token and print it; the expiry goes to standard error, so that the output is the token alone."""
    try:
        ttl_s = parse_duration_ms(args.ttl) // 1_000
    except ValueError as error:
        raise ConfigError("--ttl", str(error)) from error
    body = codec.encode(control.TokenRequest(site=args.site, ttl_s=ttl_s))
    answer = api_client.send_admin_request(args, "POST", "/api/v1/tokens", body, control.TokenResponse)
    if args.json:
        print(codec.encode(answer).decode())
    else:
        print(answer.token)
        print(f"for one agent of site {answer.site}, until {format_time(answer.expires_at_s)}", file=sys.stderr)
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Print one line a token."""
    answer = api_client.send_admin_request(args, "GET", "/api/v1/tokens", b"", TokenList)
    if args.json:
        print(codec.encode(answer).decode())
        return 0
    for entry in answer.tokens:
        print(f"{entry.id} {entry.site:<16} {_format_state(entry)}")
    return 0


def _format_state(entry: TokenEntry) -> str:
    if entry.used_at_s is not None:
        return f"used {format_time(entry.used_at_s)}"
    if entry.revoked_at_s is not None:
        return f"revoked {format_time(entry.revoked_at_s)}"
    return f"ends {format_time(entry.expires_at_s)}"


def run_revoke(args: argparse.Namespace) -> int:
    """Revoke one token."""
    api_client.send_admin_request(args, "DELETE", f"/api/v1/tokens/{quote(args.id, safe='')}", b"", RevocationResult)
    print(f"token {args.id} revoked")
    return 0
