"""``leadline token create``: a one-time token with which an agent enrols."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from leadline import wire
from leadline.durations import duration_ms
from leadline.errors import ConfigError
from leadline_cli import client


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
    client.add_options(create)
    create.set_defaults(run=run_create)


def run_create(args: argparse.Namespace) -> int:
    """Make a token and print it; the expiry goes to standard error, so that the output is the token alone."""
    try:
        ttl_s = duration_ms(args.ttl) // 1_000
    except ValueError as error:
        raise ConfigError("--ttl", str(error)) from error
    body = wire.encode(wire.TokenRequest(site=args.site, ttl_s=ttl_s))
    answer = client.administrate(args, "POST", "/api/v1/tokens", body, wire.TokenAnswer)
    if args.json:
        print(wire.encode(answer).decode())
    else:
        print(answer.token)
        expires_at = datetime.fromtimestamp(answer.expires_at_s, UTC)
        print(f"for one agent of site {answer.site}, until {expires_at:%Y-%m-%d %H:%M} UTC", file=sys.stderr)
    return 0
