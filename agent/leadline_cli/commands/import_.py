"""``leadline import``: bring in measurements that fping, ping or anything else made before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from msgspec import Struct

from leadline.durations import parse_duration_ms
from leadline.errors import ConfigError, UnavailableError
from leadline.wire import batch as wire
from leadline.wire import codec
from leadline_cli import api_client

if TYPE_CHECKING:
    from leadline.mesh.model import Mesh
    from leadline_cli.importers.document import ImportResult
    from leadline_cli.importers.pipeline import ImportFile, ImportOptions

FORMATS = ("fping", "ping", "csv")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``import`` to the command line."""
    parser = commands.add_parser(
        "import",
        help="bring in measurements made with fping, ping or as CSV",
        description="Bring measurements that exist already into the collector. They stay marked as imported, and "
        "importing a file twice changes nothing. Nothing is imported if anything in the file is wrong.",
        epilog="example: leadline import fping fra-ams.log --src fra --dst ams --dry-run",
    )
    parser.add_argument("format", metavar="FORMAT", choices=FORMATS, help="fping, ping (of Linux iputils) or csv")
    parser.add_argument("file", metavar="FILE", type=Path, help="what the program printed")
    parser.add_argument("--src", required=True, metavar="NAME", help="site or agent where it was measured")
    parser.add_argument("--dst", required=True, metavar="NAME", help="site, agent or host that was probed")
    parser.add_argument("--host", help="which host of the file, where it has several, as the file writes it")
    parser.add_argument("--start", help="when the first probe was sent (2026-11-22T06:00:00Z), for files without times")
    parser.add_argument("--interval", help="how far apart the probes were; default: as the times in the file say")
    parser.add_argument("--dry-run", action="store_true", help="only read the file and say what it holds; no collector")
    parser.add_argument("--json", action="store_true", help="print one JSON document (docs/import.md)")
    api_client.add_collector_options(parser)
    parser.set_defaults(run=run_import)


def run_import(args: argparse.Namespace) -> int:
    """Read the file, have the collector check all of it, and only then send it."""
    from leadline_cli.importers.document import build_document, format_report
    from leadline_cli.importers.pipeline import load_file  # readers of files are needed by no other command

    _show_status(f"reading {args.file}")
    try:
        found = load_file(args.file, _parse_options(args))
    finally:
        _show_status("")
    stored = None if args.dry_run else _upload_file(args, found)
    answer = build_document(found, stored)
    print(codec.encode(answer).decode() if args.json else format_report(answer))
    return 0


def _parse_options(args: argparse.Namespace) -> ImportOptions:
    from leadline_cli.importers.pipeline import ImportFormat, ImportOptions
    from leadline_cli.importers.timestamps import parse_timestamp_us

    try:
        start_us = None if args.start is None else parse_timestamp_us(args.start)
    except ValueError as error:
        raise ConfigError("--start", str(error)) from error
    try:
        interval_ms = None if args.interval is None else parse_duration_ms(args.interval)
    except ValueError as error:
        raise ConfigError("--interval", str(error)) from error
    return ImportOptions(format=ImportFormat(args.format), host=args.host, start_us=start_us, interval_ms=interval_ms)


class _MeshResponse(Struct, frozen=True, kw_only=True):
    """As much of the answer about the mesh as is needed here."""

    text: str


def _upload_file(args: argparse.Namespace, found: ImportFile) -> ImportResult:
    from leadline.mesh.parser import parse_mesh
    from leadline_cli.importers.batches import build_batches, derive_epoch
    from leadline_cli.importers.document import ImportResult
    from leadline_cli.importers.target_names import find_target

    mesh: Mesh = parse_mesh(api_client.send_admin_request(args, "GET", "/api/v1/mesh", b"", _MeshResponse).text)
    target = find_target(mesh, args.dst, found.address)
    # Nothing out of the mesh goes into the bytes: they have to be the same when the mesh is another.
    address = found.address or found.host or target
    source = f"{wire.IMPORT_PREFIX}{args.src}"
    bodies = list(build_batches(found, source, target, address))
    path = f"/api/v1/imports/{quote(args.src, safe='')}?{urlencode(_build_origin_params(found))}"
    for body in _iterate_with_progress("checking", bodies):
        _post_batch(args, f"{path}&check=true", body)
    acks = [_post_batch(args, path, body) for body in _iterate_with_progress("importing", bodies)]
    return ImportResult(
        source=source,
        target=target,
        epoch=derive_epoch(found, target, address),
        batches=len(acks),
        duplicates=sum(ack.duplicate for ack in acks),
    )


def _build_origin_params(found: ImportFile) -> dict[str, str | int]:
    """What the audit keeps of the file."""
    step = {} if found.resolution_us is None else {"resolution_us": found.resolution_us}
    return {"file": found.file, "sha256": found.sha256, "format": found.format.value, **step}


def _post_batch(args: argparse.Namespace, path: str, body: bytes) -> wire.Ack:
    ack = api_client.send_admin_request(args, "POST", path, body, wire.Ack)
    if ack.digest != wire.compute_digest(body):
        raise UnavailableError(f"{args.collector} acknowledges other bytes than were sent: is it behind a proxy?")
    return ack


def _iterate_with_progress(what: str, bodies: Sequence[bytes]) -> Iterator[bytes]:
    """The bodies, with a line of progress for each."""
    for number, body in enumerate(bodies, 1):
        _show_status(f"{what} batch {number} of {len(bodies)}")
        yield body
    _show_status("")


def _show_status(progress: str) -> None:
    """Replace the line of progress; silence in a pipe."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)
