"""Golden copies of the interfaces of the product: a refactoring must not change them.

Only ``python -m tests.contract.golden_files GROUP...`` writes golden files. Run it for an intended change of an
interface and name the change in the commit. The groups:

``api``                 ``/openapi.json``; only the version is replaced
``help``                ``--help`` of every command, 100 columns wide
``answers``             responses of a collector with the golden database, its CSV export, the names of ``/metrics``
``verdict``             ``leadline verdict --input`` as JSON and as text
``schema-sqlite``       the schema of the migrations
``schema-postgresql``   the same on PostgreSQL
``sealed``              digests of files that must not change: wire documents and relics. New files are added; a
                        changed or missing file is an error
``relics``              data of version 0.1.0 (``golden_relics``); written once
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from unittest.mock import patch
from urllib.parse import urlencode

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import URL

from leadline import __version__
from leadline_cli.__main__ import build_parser
from leadline_collector.db import schema
from leadline_collector.db.engine import Database
from leadline_collector.live.pairs import refresh_pairs
from leadline_collector.rollup import recount
from tests.contract import golden_relics, golden_verdicts
from tests.contract.golden_relics import MIDNIGHT_S, NOW_S, START_S, leadline
from tests.integration.conftest import Client
from tests.support import postgres

FOLDER = Path(__file__).parent / "golden"
WIRE = Path(__file__).parent / "wire"
SEALED = FOLDER / "sealed" / "digests.sha256"
#: Versions of Python with the same layout of help texts; argparse of 3.13 formats options differently.
HELP_PYTHONS = ((3, 11), (3, 12))

Files: TypeAlias = dict[str, bytes]


def api() -> Files:
    """Return the OpenAPI document of a collector."""
    with _collector() as client:
        data = client.send("GET", "/openapi.json").body
    return {"openapi.json": _pretty(data)}


def help_texts() -> Files:
    """Return the help of every command, and its options as values that do not depend on the version of Python."""
    environment = {"HOME": "/home/operator", "COLUMNS": "100", "PATH": "/usr/bin"}
    with patch.dict(os.environ, environment, clear=True):
        parsers = list(_parsers(build_parser()))
        texts = "\n".join(f"===== {parser.prog} --help\n{parser.format_help()}" for parser in parsers)
        options = {parser.prog: [_option(parser, action) for action in parser._actions] for parser in parsers}
    return {"help.txt": texts.encode(), "options.json": _json(options)}


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _parsers(sub)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> dict[str, Any]:
    is_command = isinstance(action, argparse._SubParsersAction)
    names: dict[str, Any] = {
        "names": list(action.option_strings) or [str(action.metavar or action.dest)],
        "kind": type(action).__name__,
        "metavar": action.metavar,
        "nargs": action.nargs,
        "default": action.default if isinstance(action.default, bool | int | float | list) else str(action.default),
        "choices": list(action.choices) if action.choices is not None else None,
        "required": action.required,
        "help": None if action.help is None or is_command else parser._get_formatter()._expand_help(action),
    }
    return {name: value for name, value in names.items() if value not in (None, False, "None")}


def answers() -> Files:
    """Return the responses of a collector with the golden database."""
    with _collector() as client:
        files = {f"{name}.json": _answer(client, path, is_admin) for name, (path, is_admin) in _PATHS.items()}
        files["export.csv"] = _export(client)
        assert client.enrol("0" * 43).status == 401  # a counter has no series before its first increment
        files["metrics.txt"] = metric_names(client.send("GET", "/metrics").body.decode())
    return files


_PAIR = "/api/v1/pairs/fra/ams/windows?"
_DAYS = {"from": MIDNIGHT_S - 86_400, "to": MIDNIGHT_S}
#: Path of each response, and True if it needs the administrator's key.
_PATHS: Mapping[str, tuple[str, bool]] = {
    "agents": ("/api/v1/agents", True),
    "audit": ("/api/v1/audit", True),
    "gaps-fra1": ("/api/v1/agents/fra1/gaps?" + urlencode({"from": START_S, "to": NOW_S}), False),
    "gaps-fra2": ("/api/v1/agents/fra2/gaps?" + urlencode({"from": START_S - 7_200, "to": NOW_S}), False),
    "matrix": (
        "/api/v1/matrix?" + urlencode({"profile": "vsan-stretched", "from": START_S, "to": NOW_S - 60}),
        False,
    ),
    "matrix-last-day": ("/api/v1/matrix?profile=vcf9-stretched-cluster", False),
    "mesh": ("/api/v1/mesh", False),
    "problem": ("/api/v1/matrix?profile=nonsense", False),
    "profiles": ("/api/v1/profiles", False),
    "tokens": ("/api/v1/tokens", True),
    "verdicts": ("/api/v1/verdicts?" + urlencode(_DAYS), False),
    "verdicts-own-limit": (
        "/api/v1/verdicts?"
        + urlencode({"pair": "fra,ams", "limit": "p95 <= 5 ms", "target_share": 0.9, "missing": "mar"} | _DAYS),
        False,
    ),
    "windows": (
        _PAIR + urlencode({"from": MIDNIGHT_S - 3_600, "to": MIDNIGHT_S, "profile": "vsan-stretched"}),
        False,
    ),
}


def _answer(client: Client, path: str, is_admin: bool) -> bytes:
    return _pretty(client.send("GET", path, key=client.admin_key if is_admin else None).body)


def _export(client: Client) -> bytes:
    """Return the file of ``leadline verdict --export``."""
    with tempfile.TemporaryDirectory() as scratch:
        key, file = Path(scratch, "admin.key"), Path(scratch, "windows.csv")
        key.write_text(client.admin_key)
        leadline(
            "verdict", "--export", file, "--pair", "fra,ams", "--from", "2026-11-21", "--to", "2026-11-22",
            "--collector", client.url, "--admin-key-file", key,
        )  # fmt: skip
        return file.read_bytes()


def metric_names(exposition: str) -> bytes:
    """Return type and name of every metric, and name and labels of every series, without values and help."""
    lines = []
    for family in text_string_to_metric_families(exposition):
        lines.append(f"{family.type} {family.name}")
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
            lines.append(f"  {sample.name}{{{labels}}}")
    listing = "".join(f"{line}\n" for line in _sorted(lines))
    return re.sub(r'(_info{.*version)="[^"]*"', r'\1="VERSION"', listing).encode()


def _sorted(lines: list[str]) -> list[str]:
    """Sort families by name and the series below each; the order of an exposition has no meaning."""
    blocks: list[list[str]] = []
    for line in lines:
        if line.startswith(" "):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return [line for block in sorted(blocks) for line in (block[0], *sorted(set(block[1:])))]


def verdict() -> Files:
    """Return offline verdicts over 15 days of two directions with losses, silence and missing windows.

    The file was exported before the second edition: ``verdict.json`` and ``verdict.txt`` are by the first edition and
    never change.
    """
    options = (
        "--profile", "vcf9-stretched-cluster", "--limit", "p95 <= 5.5 ms", "--limit", "loss < 0.1 %",
        "--target-share", "0.99", "--unseen-minutes", "20", "--missing", "mar",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as pool:
        windows = Path(scratch, "windows.csv")
        windows.write_bytes(gzip.decompress((golden_relics.FOLDER / "windows.csv.gz").read_bytes()))
        second = (*options, "--rule", "leadline-2026-2")
        runs = {
            "verdict.json": (*options, "--json"),
            "verdict.txt": options,
            "second-edition.json": (*second, "--json"),
            "second-edition.txt": second,
        }
        files = dict(zip(runs, pool.map(partial(_verdict, windows), runs.values()), strict=True))
    words = golden_verdicts.build_word_documents()
    return files | {name: _without_version(document) for name, document in words.items()}


def _verdict(windows: Path, options: Sequence[str]) -> bytes:
    """Return standard output, and a last line with the exit status."""
    process = leadline("verdict", "--input", windows, *options, check=False)
    assert process.stderr == b"", process.stderr.decode()
    return _without_version(process.stdout) + f"exit status {process.returncode}\n".encode()


def schema_sqlite() -> Files:
    """Return the schema on SQLite: its statements, and the description of every table."""
    with tempfile.TemporaryDirectory() as scratch:
        return {"schema.txt": _schema(URL.create("sqlite", database=f"{scratch}/leadline.sqlite"), _SQLITE)}


def schema_postgresql() -> Files:
    """Return the schema on PostgreSQL from the system catalogue."""
    with postgres.run_server() as url:
        name = "leadline_golden"
        postgres.drop_database(url, name)
        try:
            return {"schema.txt": _schema(postgres.create_database(url, name), _POSTGRESQL)}
        finally:
            postgres.drop_database(url, name)


_SQLITE = {
    "revision": "SELECT version_num FROM alembic_version",
    "objects": "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name",
    "columns": 'SELECT t.name, t.wr, t.strict, c.cid, c.name, c.type, c."notnull", c.dflt_value, c.pk, c.hidden '
    "FROM pragma_table_list() t, pragma_table_xinfo(t.name) c WHERE t.schema = 'main' ORDER BY t.name, c.cid",
    "indexes": 'SELECT t.name, i.name, i."unique", i.origin, i.partial, c.seqno, c.name, c."desc", c.coll '
    "FROM pragma_table_list() t, pragma_index_list(t.name) i, pragma_index_xinfo(i.name) c "
    "WHERE t.schema = 'main' AND c.key ORDER BY t.name, i.name, c.seqno",
    "foreign keys": "SELECT t.name, f.* FROM pragma_table_list() t, pragma_foreign_key_list(t.name) f "
    "WHERE t.schema = 'main' ORDER BY t.name, f.id, f.seq",
}
_OURS = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'"
_POSTGRESQL = {
    "revision": "SELECT version_num FROM alembic_version",
    "relations": "SELECT c.relkind::text, c.relname, c.relpersistence::text, pg_get_partkeydef(c.oid), "
    f"pg_get_expr(c.relpartbound, c.oid), c.reloptions, c.relacl::text, obj_description(c.oid) {_OURS} "
    "ORDER BY c.relkind, c.relname",
    "columns": "SELECT c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, "
    "pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text, a.attstorage::text, "
    f"a.attcompression::text, a.attstattarget {_OURS} "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
    "LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
    "WHERE c.relkind IN ('r', 'p', 'v', 'm') ORDER BY c.relname, a.attnum",
    "constraints": f"SELECT c.relname, o.conname, o.contype::text, pg_get_constraintdef(o.oid) {_OURS} "
    "JOIN pg_constraint o ON o.conrelid = c.oid WHERE o.contype <> 'n' ORDER BY c.relname, o.conname",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
    "ORDER BY tablename, indexname",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY viewname",
    "functions": "SELECT p.proname, pg_get_functiondef(p.oid) FROM pg_proc p "
    "JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = 'public' ORDER BY p.proname",
    "triggers": f"SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid) {_OURS} "
    "JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal ORDER BY c.relname, t.tgname",
    "sequences": "SELECT sequencename, data_type::text, start_value, increment_by, cycle FROM pg_sequences "
    "WHERE schemaname = 'public' ORDER BY sequencename",
}


def _schema(url: URL, queries: Mapping[str, str]) -> bytes:
    database = Database(url)
    try:
        schema.upgrade(database)
        with database.read() as connection:
            sections = {name: connection.exec_driver_sql(query).all() for name, query in queries.items()}
    finally:
        database.close()
    lines = []
    for name, rows in sections.items():
        lines += [f"===== {name}", *(" | ".join("" if value is None else str(value) for value in row) for row in rows)]
    return "".join(f"{line}\n" for line in lines).encode()


def sealed() -> Files:
    """Return the digests of the files that must not change; raise ValueError with the names of changed ones."""
    digests = {
        path.relative_to(FOLDER.parent).as_posix(): golden_relics.sha256(path.read_bytes()) for path in _sealed()
    }
    golden = dict(line.split("  ")[::-1] for line in SEALED.read_text().splitlines()) if SEALED.exists() else {}
    if changed := [name for name, digest in golden.items() if digests.get(name) != digest]:
        raise ValueError(f"changed or missing files that must not be edited: {', '.join(changed)}")
    return {SEALED.name: "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()}


def _sealed() -> Iterator[Path]:
    for folder in (WIRE, golden_relics.FOLDER):
        yield from (path for path in folder.rglob("*") if path.is_file())


@contextmanager
def _collector() -> Iterator[Client]:
    with tempfile.TemporaryDirectory() as scratch, golden_relics.collector_of_relics(Path(scratch)) as collector:
        # The relics were counted by an earlier evaluation; the threads that count anew do not run in tests.
        recount.sync_revisions(collector.store)
        refresh_pairs(collector.store, NOW_S, {})
        yield collector.client


def _pretty(data: bytes) -> bytes:
    """Return a document with line breaks and without the product's version; order, numbers and text do not change."""
    return _without_version(msgspec.json.format(data, indent=1) + b"\n")


def _without_version(document: bytes) -> bytes:
    """Replace the version, which a release changes without a change of the interface."""
    for key in ("version", "leadline"):
        document = document.replace(f'"{key}": "{__version__}"'.encode(), f'"{key}": "VERSION"'.encode())
    return document


def _json(document: object) -> bytes:
    return json.dumps(document, indent=1).encode() + b"\n"


GROUPS: Mapping[str, Callable[[], Files]] = {
    "api": api,
    "help": help_texts,
    "answers": answers,
    "verdict": verdict,
    "schema-sqlite": schema_sqlite,
    "schema-postgresql": schema_postgresql,
    "sealed": sealed,
}


def golden_folder(group: str) -> Path:
    """Return the folder of a group."""
    return FOLDER / group


def read_golden(group: str) -> Files:
    """Return the golden files of a group."""
    return {path.name: path.read_bytes() for path in golden_folder(group).iterdir()}


def select_comparable(files: Files) -> Files:
    """Leave out help texts if this version of Python formats them differently; the options have their content."""
    return files if sys.version_info[:2] in HELP_PYTHONS else {k: v for k, v in files.items() if k != "help.txt"}


def write(group: str) -> None:
    """Replace the golden files of a group."""
    files, folder = GROUPS[group](), golden_folder(group)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


def main() -> int:
    """Write the groups of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.contract.golden_files", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("group", nargs="+", choices=[*GROUPS, "relics"])
    for group in parser.parse_args().group:
        if group == "relics":
            golden_relics.make()
        else:
            write(group)
        print(f"written: {golden_folder(group)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
