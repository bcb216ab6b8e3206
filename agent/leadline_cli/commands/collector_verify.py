"""``leadline collector verify``: the journal checked again, batch by batch, by whoever wants to know."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from leadline.errors import ConfigError
from leadline.wire.signing import PUBLIC_KEY_BYTES
from leadline_cli.commands.agent_keys import format_time
from leadline_cli.database_options import read_collector_config

if TYPE_CHECKING:
    from leadline_collector.ingest.verification import TrustedKey, VerificationCounts, VerificationFinding

EXIT_BAD = 1


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add ``verify``; the caller adds where the data is."""
    parser = actions.add_parser(
        "verify",
        help="check the journal: digests, rows and signatures",
        description="Check every batch of the journal against its digest, its columns and its agent's signature, also "
        "while the collector runs. Exit status 1 when anything is wrong; every batch that is gets a line.",
        epilog="example: leadline collector verify --trusted-keys agents.keys",
    )
    parser.add_argument("--agent", metavar="NAME", help="only the batches of this agent")
    parser.add_argument(
        "--trusted-keys", type=Path, metavar="FILE",
        help="lines of AGENT PUBLIC-KEY [SINCE], as `agent enroll --sign` prints them: these and their successors are "
        "believed instead of the database's, and what such an agent measured since then (ISO 8601) must be signed",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run_verify)
    return parser


def run_verify(args: argparse.Namespace) -> int:
    """Look at everything, print what is wrong, and the count."""
    config = read_collector_config(args)
    from leadline_collector.db.engine import open_read_only
    from leadline_collector.ingest.verification import verify_journal

    trusted = {} if args.trusted_keys is None else read_trusted_keys(args.trusted_keys)
    with open_read_only(config.database) as read:
        tally, findings = verify_journal(
            read, args.agent, trusted, _show_progress if sys.stderr.isatty() else _ignore_progress
        )
    print(format_json(tally, findings) if args.json else "\n".join(format_lines(tally, findings)))
    return EXIT_BAD if tally.faulty_batches else 0


def read_trusted_keys(file: Path) -> Mapping[str, Sequence[TrustedKey]]:
    """The keys in a file, by agent; ConfigError names the line that is none."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--trusted-keys", f"cannot read {file}: {error}") from error
    found: defaultdict[str, list[TrustedKey]] = defaultdict(list)
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if words:
            try:
                found[words[0]].append(_parse_trusted_key(words))
            except (ValueError, IndexError) as error:
                expected = "AGENT, a public key of 64 hex digits and, if wanted, the time since when"
                raise ConfigError("--trusted-keys", f"{file} line {number} is not {expected}") from error
    return found


def _parse_trusted_key(words: Sequence[str]) -> TrustedKey:
    from leadline_collector.ingest.verification import TrustedKey

    _, key, *since = words
    public = bytes.fromhex(key)
    if len(public) != PUBLIC_KEY_BYTES or len(since) > 1:
        raise ValueError(words)
    return TrustedKey(public_key=public, since_s=_parse_time_s(since[0]) if since else 0)


def _parse_time_s(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _show_progress(tally: VerificationCounts) -> None:
    end = "\n" if tally.batches >= tally.batches_total else ""
    print(
        f"\r{tally.batches:,} of {tally.batches_total:,} batches, {tally.faulty_batches:,} bad",
        end=end,
        file=sys.stderr,
        flush=True,
    )


def _ignore_progress(tally: VerificationCounts) -> None:
    """A pipe gets the result only."""


def format_json(tally: VerificationCounts, findings: Sequence[VerificationFinding]) -> str:
    """The result as one document."""
    document = {
        "batches": tally.batches,
        "bytes": tally.bytes,
        "gone": tally.without_body,
        "signed": tally.signed_batches,
        "bad": tally.faulty_batches,
        "faults": {str(fault): count for fault, count in sorted(tally.fault_counts.items())},
        "findings": findings,
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def format_lines(tally: VerificationCounts, findings: Sequence[VerificationFinding]) -> Iterator[str]:
    """A line for each fault, and the count."""
    for one in findings:
        received = format_time(one.received_at_s)
        yield f"{one.fault}: agent {one.agent} epoch {one.epoch} seq {one.seq}, received {received}: {one.detail}"
    if (rest := tally.fault_counts.total() - len(findings)) > 0:
        yield f"and {rest:,} more"
    yield f"{tally.batches:,} batches, {tally.bytes / 1e6:,.1f} MB: {tally.signed_batches:,} signed, {tally.faulty_batches:,} bad"
    if tally.without_body:
        yield f"{tally.without_body:,} batches have no body any more (retention) and could not be checked"
