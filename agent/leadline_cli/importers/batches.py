"""Windows as the batches that carry them: the same file and choices always give the same bytes.

Rule 1: the name of a batch comes from the file's digest and from the choices, its times from the windows; nothing comes
from the clock, the mesh or the version of a library. So importing twice changes nothing.
Rule 2: bodies are not compressed: what zlib makes of the same bytes depends on its version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import msgspec

from leadline.model import WINDOW_S
from leadline.wire import batch as wire
from leadline.wire import codec
from leadline_cli.importers.pipeline import ImportFile

#: The version of the wire these batches are of; it is in their bytes, so it stays when the wire gets newer ones.
WIRE_VERSION = 2
#: What a batch has beside its series, amply.
ENVELOPE_BYTES = 1_024
US_PER_S = 1_000_000
_EPOCH_DIGITS = 32


def derive_epoch(import_file: ImportFile, target: str, address: str) -> str:
    """The name of an import: the first 128 bits of a digest."""
    named = [
        import_file.sha256,
        import_file.format.value,
        import_file.host,
        import_file.start_us,
        import_file.interval_ms,
        target,
        address,
    ]
    return hashlib.sha256(msgspec.json.encode(named)).hexdigest()[:_EPOCH_DIGITS]


def build_batches(import_file: ImportFile, source: str, target: str, address: str) -> Iterator[bytes]:
    """The bodies, oldest windows first."""
    name = derive_epoch(import_file, target, address)
    for seq, series in enumerate(
        _group_series([wire.to_target_window(target, address, one) for one in import_file.windows])
    ):
        yield codec.encode(_build_batch(source, name, seq, series))


def _build_batch(source: str, name: str, seq: int, series: Sequence[wire.TargetWindow]) -> wire.Batch:
    return wire.Batch(
        v=WIRE_VERSION,
        agent=source,
        epoch=name,
        seq=seq,
        mesh_version=0,
        sealed_at_us=(series[-1].start_s + WINDOW_S) * US_PER_S,
        monotonic_us=0,
        series=list(series),
    )


def _group_series(series: Sequence[wire.TargetWindow]) -> Iterator[list[wire.TargetWindow]]:
    portion: list[wire.TargetWindow] = []
    size = ENVELOPE_BYTES
    for one in series:
        more = len(codec.encode(one)) + 1
        if portion and (size + more > wire.BODY_BYTES_MAX or len(portion) == wire.SERIES_MAX):
            yield portion
            portion, size = [], ENVELOPE_BYTES
        portion.append(one)
        size += more
    yield portion
