"""``leadline collector``: the server that stores and judges. It is imported when it runs: an agent host lacks it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from leadline.errors import UnavailableError

if TYPE_CHECKING:
    from leadline_collector.config import CollectorConfig


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``collector`` to the command line."""
    parser = commands.add_parser("collector", help="store and judge what agents measure", description=__doc__)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    serve = actions.add_parser(
        "serve",
        help="run the collector",
        description="Run the collector until SIGTERM or Ctrl-C. Prints its address once it accepts connections.",
        epilog="example: leadline collector serve --port 8427",
    )
    _add_storage(serve)
    _add_network(serve)
    serve.set_defaults(run=run_serve)
    migrate = actions.add_parser(
        "migrate",
        help="bring the database to this version's schema",
        description="Bring the database to this version's schema. SQLite files are migrated at start by themselves.",
        epilog="example: LEADLINE_DATABASE_URL=postgresql://leadline@db/leadline leadline collector migrate",
    )
    _add_storage(migrate)
    migrate.set_defaults(run=run_migrate)


def _add_storage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR",
        help="database and admin key (default $LEADLINE_DATA_DIR, or leadline in $XDG_DATA_HOME or ~/.local/share)",
    )  # fmt: skip
    parser.add_argument(
        "--database-url", metavar="URL",
        help="postgresql://… or sqlite:///FILE (default $LEADLINE_DATABASE_URL, or leadline.sqlite in the data "
        "directory); a password belongs into the variable or a password file, not on the command line",
    )  # fmt: skip


def _add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=None, help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=None, help="port to listen on; 0 takes a free one (default 8427)")
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain (PEM)")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its private key (PEM)")
    parser.add_argument("--behind-proxy", action="store_true", help="a proxy in front does TLS; believe its headers")
    parser.add_argument("--viewer-key-file", type=Path, metavar="FILE", help="reading needs the key in this file")


def run_serve(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    config = _config(args)
    from leadline.clock import SystemClock
    from leadline_cli.logs import log_to_stderr
    from leadline_collector.serve import serve

    log_to_stderr()
    serve(config, SystemClock(), lambda url: print(f"listening on {url}", flush=True))
    return 0


def run_migrate(args: argparse.Namespace) -> int:
    """Migrate, and say from where to where."""
    config = _config(args)
    from leadline_collector import schema
    from leadline_collector.db import Database

    database = Database(config.database)
    try:
        before = schema.current(database)
        schema.upgrade(database)
    finally:
        database.close()
    head = schema.head()
    print(f"the schema is at {head} already" if before == head else f"schema {before or 'none'} -> {head}")
    return 0


def _config(args: argparse.Namespace) -> CollectorConfig:
    try:
        from leadline_collector.config import read_config
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"the collector needs {error.name}, which is not installed: pip install 'leadline[collector]'"
        ) from error
    return read_config(vars(args), os.environ)
