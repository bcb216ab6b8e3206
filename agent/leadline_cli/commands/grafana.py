"""``leadline grafana``: install dashboards and alert rules in a Grafana server. Needs ``leadline[grafana]``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.errors import ConfigError, UnavailableError

if TYPE_CHECKING:
    from leadline_cli.grafana.desired_state import Datasource
    from leadline_cli.grafana.push import PushResult

EXIT_REFUSED = 1
#: A token has about 50 characters, a password a few dozen.
SECRET_CHARACTERS_MAX = 4_096
_NON_OWNER_MODE_BITS = 0o077


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``grafana`` to the command line."""
    parser = commands.add_parser(
        "grafana",
        help="install the dashboards in a Grafana server",
        description="Install dashboards and alert rules in a Grafana server. Needs leadline[grafana].",
        epilog="example: leadline grafana push --url https://grafana.example.net --token-file grafana.token --dry-run",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    push = actions.add_parser(
        "push",
        help="create or update datasource, folder, dashboards and alert rules",
        description="Create or update datasource, folder, dashboards and alert rules in a Grafana server (version 11 "
        "or newer). Items without differences stay unchanged, so a second run changes nothing. Exit status 1 if "
        "Grafana or leadline refused an item.",
        epilog="example: leadline grafana push --url https://grafana.example.net --token-file grafana.token "
        "--datasource-host db.example.net:5432 --datasource-password-file reader.password --dry-run",
    )
    push.add_argument("--url", required=True, metavar="URL", help="URL of Grafana, including its path if it has one")
    push.add_argument(
        "--token-file", required=True, metavar="FILE",
        help="file with the token of a service account with the role Admin; - for standard input",
    )  # fmt: skip
    push.add_argument("--ca-file", metavar="FILE", help="CA certificate for Grafana's TLS certificate (PEM)")
    push.add_argument("--folder", default="leadline", metavar="TITLE", help="title of the folder (default %(default)s)")
    _add_datasource_options(push)
    push.add_argument(
        "--lock-rules",
        action="store_true",
        help="lock the alert rules in Grafana's editor; only this command can change them",
    )
    push.add_argument("--dry-run", action="store_true", help="only print what would be done")
    push.add_argument("--json", action="store_true", help="print the result as JSON")
    push.set_defaults(run=run_push)


def _add_datasource_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "datasource", "without --datasource-host, the datasource must exist and stays unchanged"
    )
    group.add_argument("--datasource-host", metavar="HOST:PORT", help="address of PostgreSQL as seen from Grafana")
    group.add_argument(
        "--datasource-database", default="leadline", metavar="NAME", help="database name (default %(default)s)"
    )
    group.add_argument(
        "--datasource-user", default="grafana", metavar="NAME", help="database user (default %(default)s)"
    )
    group.add_argument("--datasource-password-file", metavar="FILE", help="file with the password of the database user")
    group.add_argument(
        "--datasource-tls", default="verify-full", choices=["disable", "require", "verify-ca", "verify-full"],
        help="TLS mode of the database connection (default %(default)s)",
    )  # fmt: skip


def run_push(args: argparse.Namespace) -> int:
    """Push the packaged dashboards and alert rules."""
    return push_dashboards(args, *_load_packaged_documents())


def push_dashboards(args: argparse.Namespace, documents: Mapping[str, bytes], rules: Sequence[dict[str, Any]]) -> int:
    """Push dashboards (JSON bytes by name) and alert rules (groups of a provisioning file); return the exit status."""
    try:
        from leadline_cli.grafana.client import GrafanaClient
        from leadline_cli.grafana.desired_state import DesiredState, parse_dashboards, parse_rule_groups
        from leadline_cli.grafana.push import GrafanaPush, check_version
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"this needs {str(error.name).partition('.')[0]}, which is not installed: pip install 'leadline[grafana]'"
        ) from error
    desired = DesiredState(
        folder=args.folder,
        datasource=_build_datasource(args),
        dashboards=parse_dashboards(documents),
        rule_groups=parse_rule_groups(rules),
    )
    client = GrafanaClient(args.url, _read_secret("--token-file", args.token_file), args.ca_file)
    version = check_version(client)
    if not args.json:
        print(f"Grafana {version}: {client.url}")
    results = GrafanaPush(api=client, dry_run=args.dry_run, lock_rules=args.lock_rules).run(desired)
    pushed = list(results) if args.json else list(_print_results(results, args))
    if args.json:
        print(json.dumps({"grafana": version, "dry_run": args.dry_run, "items": [asdict(result) for result in pushed]}))
    return EXIT_REFUSED if any(result.action == "refused" for result in pushed) else 0


def _print_results(results: Iterator[PushResult], args: argparse.Namespace) -> Iterator[PushResult]:
    """Print and yield each result as soon as it is available."""
    would = {"created": "would create", "updated": "would update"} if args.dry_run else {}
    for result in results:
        detail = f": {result.detail}" if result.detail else ""
        print(f"{would.get(result.action, result.action):<12}  {result.kind:<10}  {result.name}{detail}", flush=True)
        yield result


def _build_datasource(args: argparse.Namespace) -> Datasource | None:
    if args.datasource_host is None:
        if args.datasource_password_file:
            raise ConfigError("--datasource-password-file", "needs --datasource-host")
        return None
    from leadline_cli.grafana.desired_state import Datasource

    file = args.datasource_password_file
    if file == "-" == args.token_file:
        raise ConfigError("--datasource-password-file", "standard input already provides the token: pass a file")
    return Datasource(
        address=args.datasource_host,
        database=args.datasource_database,
        user=args.datasource_user,
        password=None if file is None else _read_secret("--datasource-password-file", file),
        ssl_mode=args.datasource_tls,
    )


def _read_secret(option: str, source: str) -> str:
    """Read a secret from a file or standard input. An argument would be visible in the process list."""
    try:
        text = sys.stdin.read(SECRET_CHARACTERS_MAX) if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(option, f"cannot read {source}: {error}") from error
    secret = text.strip()
    if not secret or any(character.isspace() for character in secret):
        raise ConfigError(option, f"{source} contains {'no secret' if not secret else 'more than one word'}")
    if source != "-" and Path(source).stat().st_mode & _NON_OWNER_MODE_BITS:
        print(f"leadline: warning: other users can read {source}: chmod 600 {source}", file=sys.stderr)
    return secret


def _load_packaged_documents() -> tuple[Mapping[str, bytes], Sequence[dict[str, Any]]]:
    from leadline_dashboards import load_alert_rules, load_dashboards

    return load_dashboards(), load_alert_rules()
