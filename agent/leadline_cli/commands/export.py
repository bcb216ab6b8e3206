"""``leadline export``: export what the collector keeps, such as every single probe of a pair."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlencode

from leadline.errors import ConfigError
from leadline.wire.probes import DELETED_BEFORE_HEADER
from leadline_cli import api_client
from leadline_cli.api_client import Download

FORMATS = ("csv", "jsonl")
_EXAMPLE = (
    "example: leadline export rtts --pair fra,ams --from 2026-11-22T15:00Z --to 2026-11-22T16:00Z --output pings.csv"
)
#: The end of a piece that contains at least one whole row.
_TAIL_BYTES = 1_024
_MINUTE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``export`` to the command line."""
    parser = commands.add_parser(
        "export",
        help="export the single probes of a pair",
        description="Export measurements from the collector.",
        epilog=_EXAMPLE,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    rtts = actions.add_parser(
        "rtts",
        help="export every single probe of a pair",
        description="Export every single probe from one site to another that is kept: its time, round-trip time or "
        "failure, and the error of its minute. `leadline import csv` reads the CSV back (docs/export.md). Exit status: "
        "0, or 2 with the reason if no probe of the period is kept.",
        epilog=_EXAMPLE,
    )
    rtts.add_argument(
        "--pair", required=True, metavar="A,B", help="source and destination site; B,A is the other direction"
    )
    rtts.add_argument(
        "--from",
        dest="start",
        metavar="TIME",
        help="start, ISO 8601 with zone; --from=-2h counts back from now (default -24h)",
    )
    rtts.add_argument("--to", dest="end", metavar="TIME", help="end, as --from (default now); at most 400 days later")
    rtts.add_argument(
        "--format", choices=FORMATS, default="csv", help="csv (default), or jsonl: one JSON object a line"
    )
    rtts.add_argument("--output", type=Path, metavar="FILE", help="write to this file instead of standard output")
    rtts.add_argument("--force", action="store_true", help="replace FILE if it exists")
    api_client.add_collector_options(rtts)
    rtts.set_defaults(run=run_rtts)


def run_rtts(args: argparse.Namespace) -> int:
    """Download the probes of a pair into a file or to standard output."""
    path = _build_path(args)
    _check_output(args)
    with api_client.open_download(args, path) as download:
        if args.output is None:
            _copy_pieces(download, sys.stdout.buffer)
            _print_note(download)
            return 0
        with _open_output(args.output) as file:
            rows = _copy_pieces(download, file)
        _print_note(download)
    print(f"{rows - (args.format == 'csv'):,} probes in {args.output}", file=sys.stderr)
    return 0


def _build_path(args: argparse.Namespace) -> str:
    sites = [site.strip() for site in args.pair.split(",")]
    if len(sites) != 2 or not all(sites) or sites[0] == sites[1]:
        raise ConfigError("--pair", f"expected two different sites, A,B, got {args.pair!r}")
    source, destination = (quote(site, safe="") for site in sites)
    parameters = {"from": args.start, "to": args.end, "format": args.format}
    query = urlencode({name: value for name, value in parameters.items() if value is not None})
    return f"/api/v1/pairs/{source}/{destination}/probes?{query}"


def _check_output(args: argparse.Namespace) -> None:
    if args.force and args.output is None:
        raise ConfigError("--force", "needs --output FILE")
    if args.output is not None and args.output.exists() and not args.force:
        raise ConfigError("--output", f"{args.output} exists; choose another name, or replace it with --force")


@contextmanager
def _open_output(output: Path) -> Iterator[BinaryIO]:
    """Open a file that gets its name at the end of the ``with`` block, and is deleted if the block raises."""
    part = output.with_name(f"{output.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(output)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError("--output", f"cannot write {part}: {error.strerror}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _copy_pieces(download: Download, file: BinaryIO) -> int:
    """Write the pieces of a download; return the number of lines."""
    lines = 0
    # The rows themselves are visible if standard output is the terminal.
    has_progress = sys.stderr.isatty() and not file.isatty()
    try:
        for piece in download.pieces:
            file.write(piece)
            file.flush()
            lines += piece.count(b"\n")
            if has_progress:
                _show_status(f"{lines:,} probes{_format_position(piece)}")
    finally:
        if has_progress:
            _show_status("")
    return lines


def _format_position(piece: bytes) -> str:
    """Return the minute of the last row of a piece, for the progress line."""
    minutes = _MINUTE.findall(piece[-_TAIL_BYTES:])
    return f", to {minutes[-1].decode()}Z" if minutes else ""


def _show_status(progress: str) -> None:
    print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)


def _print_note(download: Download) -> None:
    deleted_before = download.headers.get(DELETED_BEFORE_HEADER)
    if deleted_before is not None:
        print(
            f"leadline: the collector has deleted the single probes before {deleted_before} (--keep-raw)",
            file=sys.stderr,
        )
