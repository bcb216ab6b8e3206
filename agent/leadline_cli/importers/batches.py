"""Batches of imported windows: the same file and options always give the same bytes.

Rule 1: the identity of a batch comes from the digest of the file and the options, its times from the windows. Nothing
comes from the clock, the mesh or a library version. So a second import changes nothing.
Rule 2: bodies are not compressed, because the output of zlib depends on its version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from leadline.model import WINDOW_S
from leadline.wire import batch as wire
from leadline.wire import codec
from leadline_cli.importers.pipeline import ImportFile

#: Wire version of these batches. It is part of their bytes, so it must not follow newer wire versions.
WIRE_VERSION = 2
#: Generous upper bound for the size of a batch without its series.
ENVELOPE_BYTES = 1_024
US_PER_S = 1_000_000
_EPOCH_DIGITS = 32


def derive_epoch(import_file: ImportFile, target: str, address: str) -> str:
    """Return the epoch of an import: the first 128 bits of a digest."""
    identity = [
        import_file.sha256,
        import_file.format.value,
        import_file.host,
        import_file.start_us,
        import_file.interval_ms,
        target,
        address,
    ]
    return hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:_EPOCH_DIGITS]


def build_batches(import_file: ImportFile, source: str, target: str, address: str) -> Iterator[bytes]:
    """Yield the batch bodies, oldest windows first."""
    epoch = derive_epoch(import_file, target, address)
    for seq, series in enumerate(
        _group_series([wire.to_target_window(target, address, window) for window in import_file.windows])
    ):
        yield codec.encode(_build_batch(source, epoch, seq, series))


def _build_batch(source: str, epoch: str, seq: int, series: Sequence[wire.TargetWindow]) -> wire.Batch:
    return wire.Batch(
        v=WIRE_VERSION,
        agent=source,
        epoch=epoch,
        seq=seq,
        mesh_version=0,
        sealed_at_us=(series[-1].start_s + WINDOW_S) * US_PER_S,
        monotonic_us=0,
        series=list(series),
    )


def _group_series(series: Sequence[wire.TargetWindow]) -> Iterator[list[wire.TargetWindow]]:
    batch_series: list[wire.TargetWindow] = []
    size = ENVELOPE_BYTES
    for window in series:
        item_size = len(codec.encode(window)) + 1
        if batch_series and (size + item_size > wire.BODY_BYTES_MAX or len(batch_series) == wire.SERIES_MAX):
            yield batch_series
            batch_series, size = [], ENVELOPE_BYTES
        batch_series.append(window)
        size += item_size
    yield batch_series
