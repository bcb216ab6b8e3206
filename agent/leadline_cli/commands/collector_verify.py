"""``leadline collector verify``: verify every batch of the journal."""

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
    """Add ``verify``. The caller adds the database options."""
    parser = actions.add_parser(
        "verify",
        help="verify the journal: digests, rows and signatures",
        description="Verify every batch of the journal against its digest, its columns and the signature of its agent. "
        "The collector may run. Exit status 1 if a batch is faulty; each fault is printed as one line.",
        epilog="example: leadline collector verify --trusted-keys agents.keys",
    )
    parser.add_argument("--agent", metavar="NAME", help="verify only the batches of this agent")
    parser.add_argument(
        "--trusted-keys", type=Path, metavar="FILE",
        help="file with lines AGENT PUBLIC-KEY [SINCE], as printed by `agent enroll --sign`; these keys and the keys "
        "they endorse replace the keys in the database, and measurements of such an agent from SINCE (ISO 8601) must "
        "be signed",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run_verify)
    return parser


def run_verify(args: argparse.Namespace) -> int:
    """Verify the journal, print the faults and the counts."""
    config = read_collector_config(args)
    from leadline_collector.db.engine import open_read_only
    from leadline_collector.ingest.verification import verify_journal

    trusted = {} if args.trusted_keys is None else read_trusted_keys(args.trusted_keys)
    with open_read_only(config.database) as read:
        counts, findings = verify_journal(
            read, args.agent, trusted, _show_progress if sys.stderr.isatty() else _ignore_progress
        )
    print(format_json(counts, findings) if args.json else "\n".join(format_lines(counts, findings)))
    return EXIT_BAD if counts.faulty_batches else 0


def read_trusted_keys(file: Path) -> Mapping[str, Sequence[TrustedKey]]:
    """Read trusted keys by agent; ConfigError names an invalid line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("--trusted-keys", f"cannot read {file}: {error}") from error
    keys_by_agent: defaultdict[str, list[TrustedKey]] = defaultdict(list)
    for number, line in enumerate(lines, 1):
        fields = line.partition("#")[0].split()
        if fields:
            try:
                keys_by_agent[fields[0]].append(_parse_trusted_key(fields))
            except (ValueError, IndexError) as error:
                expected = "AGENT PUBLIC-KEY [SINCE], with a public key of 64 hex digits and an ISO 8601 time"
                raise ConfigError("--trusted-keys", f"{file} line {number} is not {expected}") from error
    return keys_by_agent


def _parse_trusted_key(fields: Sequence[str]) -> TrustedKey:
    from leadline_collector.ingest.verification import TrustedKey

    _, key, *since = fields
    public = bytes.fromhex(key)
    if len(public) != PUBLIC_KEY_BYTES or len(since) > 1:
        raise ValueError(fields)
    return TrustedKey(public_key=public, since_s=_parse_time_s(since[0]) if since else 0)


def _parse_time_s(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())


def _show_progress(counts: VerificationCounts) -> None:
    end = "\n" if counts.batches >= counts.batches_total else ""
    print(
        f"\r{counts.batches:,} of {counts.batches_total:,} batches, {counts.faulty_batches:,} faulty",
        end=end,
        file=sys.stderr,
        flush=True,
    )


def _ignore_progress(counts: VerificationCounts) -> None:
    """Show no progress without a terminal."""


def format_json(counts: VerificationCounts, findings: Sequence[VerificationFinding]) -> str:
    """Format the result as a JSON document."""
    document = {
        "batches": counts.batches,
        "bytes": counts.bytes,
        "gone": counts.without_body,
        "signed": counts.signed_batches,
        "bad": counts.faulty_batches,
        "faults": {str(fault): count for fault, count in sorted(counts.fault_counts.items())},
        "findings": findings,
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def format_lines(counts: VerificationCounts, findings: Sequence[VerificationFinding]) -> Iterator[str]:
    """Yield one line for each fault, then the counts."""
    for finding in findings:
        received = format_time(finding.received_at_s)
        batch = f"agent {finding.agent} epoch {finding.epoch} seq {finding.seq}"
        yield f"{finding.fault}: {batch}, received {received}: {finding.detail}"
    if (remaining := counts.fault_counts.total() - len(findings)) > 0:
        yield f"and {remaining:,} more"
    yield (
        f"{counts.batches:,} batches, {counts.bytes / 1e6:,.1f} MB: {counts.signed_batches:,} signed, "
        f"{counts.faulty_batches:,} faulty"
    )
    if counts.without_body:
        yield f"{counts.without_body:,} batches could not be verified, because retention deleted their bodies"
