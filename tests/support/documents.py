"""Meshes, windows and batches for tests, and the encoding of a batch."""

from __future__ import annotations

import gzip
from collections.abc import Sequence

from leadline.model import Failure, Miss, Window
from leadline.wire import batch as wire
from leadline.wire import codec

#: 2026-11-22 06:00:00 UTC, a whole minute.
NOW_S = 1_795_327_200

MESH = """
profiles = ["vcf9-stretched-cluster"]

[[site]]
name = "fra"
latitude = 50.1
longitude = 8.7

[[site]]
name = "ams"
latitude = 52.3
longitude = 4.9

[[agent]]
name = "fra1"
site = "fra"
address = "192.0.2.1"

[[agent]]
name = "fra2"
site = "fra"
address = "192.0.2.2"

[[agent]]
name = "ams1"
site = "ams"
address = "192.0.2.3"

[[group]]
name = "metro"
kind = "full-mesh"
sites = ["fra", "ams"]
"""

#: An epoch and its successor. The successor sorts first, like half of the random epochs.
EPOCH = "fedcba9876543210" * 2
OTHER_EPOCH = "0123456789abcdef" * 2


def build_window(rtts_us: Sequence[int | None], start_s: int = NOW_S, missing: Failure = Failure.TIMEOUT) -> Window:
    """Build a window of 60 slots; None is a probe with the failure ``missing``."""
    misses = tuple(Miss(slot, missing) for slot, rtt in enumerate(rtts_us) if rtt is None)
    return Window(start_s=start_s, interval_ms=1_000, rtt_us=tuple(rtts_us), misses=misses)


def build_steady_window(rtt_us: int, start_s: int = NOW_S) -> Window:
    """Build a window with the same RTT in every slot."""
    return build_window([rtt_us] * 60, start_s)


def build_batch(
    *windows: tuple[str, Window],
    agent: str = "fra1",
    seq: int = 1,
    epoch: str = EPOCH,
    sealed_at_s: int = NOW_S + 70,
    mesh_version: int = 1,
) -> wire.Batch:
    """Build a batch of (target, window) pairs."""
    return wire.Batch(
        v=wire.WIRE_VERSION,
        agent=agent,
        epoch=epoch,
        seq=seq,
        mesh_version=mesh_version,
        sealed_at_us=sealed_at_s * 1_000_000,
        monotonic_us=1,
        series=[wire.to_target_window(target, "192.0.2.3", window) for target, window in windows],
    )


def encode_body(document: wire.Batch) -> bytes:
    """Return the bytes that an agent sends."""
    return gzip.compress(codec.encode(document), mtime=0)
