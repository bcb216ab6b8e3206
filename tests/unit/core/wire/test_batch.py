"""The wire contract: what goes in comes out, and what is wrong is named by its path."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import WireError
from leadline.model import RTT_US_MAX, ErrorBound, Failure, Miss, Window, build_window
from leadline.wire import batch as wire
from leadline.wire import codec

START_S = 1_795_327_200
GAP = wire.Gap(reason=wire.GapReason.AGENT_DOWN, from_s=START_S, to_s=START_S + 60)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Any valid window of up to 120 slots."""
    interval_ms = draw(st.sampled_from([500, 1_000, 2_000, 5_000, 60_000]))
    slots = range(60_000 // interval_ms)
    rtts = draw(st.dictionaries(st.sampled_from(slots), st.integers(0, RTT_US_MAX)))
    misses = [draw(misses_at(slot)) for slot in slots if slot not in rtts]
    p50_us = draw(st.integers(0, 1_000))
    bound = draw(st.none() | st.integers(p50_us, 5_000).map(lambda p99: ErrorBound(p50_us=p50_us, p99_us=p99)))
    start_s = 60 * draw(st.integers(0, wire.TIME_S_MAX // 60))
    return build_window(start_s, interval_ms, rtts, misses, duplicates=draw(st.integers(0, 9)), error_bound=bound)


def misses_at(slot: int) -> st.SearchStrategy[Miss]:
    """Any miss of a slot, with the detail its failure needs."""
    return st.builds(Miss, st.just(slot), st.sampled_from(Failure), st.integers(0, RTT_US_MAX))


def batch_of(*series: wire.TargetWindow, **changes: object) -> wire.Batch:
    """A batch of these series."""
    batch = wire.Batch(
        v=1, agent="fra1", epoch="0" * 32, seq=0, mesh_version=0, sealed_at_us=0, monotonic_us=0, series=list(series)
    )
    return msgspec.structs.replace(batch, **changes)


def series_of(**changes: object) -> wire.TargetWindow:
    """A series of 60 probes of 1 ms, with members replaced, rightly or not."""
    window = Window(start_s=START_S, interval_ms=1_000, rtt_us=(1_000,) * 60)
    return msgspec.structs.replace(wire.to_target_window("ams1", "192.0.2.1", window), **changes)


@settings(max_examples=settings().max_examples * 2 // 5)  # each draws hundreds of slots
@given(st.lists(windows(), max_size=3, unique_by=lambda window: window.start_s))
def test_a_batch_survives_the_journey(found: list[Window]) -> None:
    """decode(encode(batch)) is the batch, and its windows are the windows that were put in."""
    batch = batch_of(*(wire.to_target_window("ams1", "192.0.2.1", window) for window in found))

    decoded = wire.decode_batch(codec.encode(batch))

    assert decoded == batch
    assert [window for _, window in wire.iter_windows(decoded)] == found


@settings(max_examples=settings().max_examples * 3 // 5)
@given(windows(), st.data())
def test_what_is_no_window_is_refused_by_the_decoder(window: Window, data: st.DataObject) -> None:
    """Whatever one slot or miss is changed to: the decoder takes what ``wire.window`` takes, and nothing else."""
    series = wire.to_target_window("ams1", "192.0.2.1", window)
    slot = data.draw(st.integers(0, len(series.rtt_us) - 1))
    change: dict[str, object] = data.draw(
        st.sampled_from(
            [
                {"rtt_us": [*series.rtt_us[:slot], None, *series.rtt_us[slot + 1 :]]},
                {"rtt_us": [*series.rtt_us[:slot], 7, *series.rtt_us[slot + 1 :]]},
                {"rtt_us": series.rtt_us[1:] or [1, 2]},
                {"misses": series.misses[1:]},
                {"misses": series.misses[::-1]},
                {"misses": [Miss(miss.slot, miss.failure) for miss in series.misses]},
                {"error_us": ErrorBound(2, 1)},
                {"error_us": ErrorBound(1, 2)},
                {"interval_ms": 10},
            ]
        )
    )
    changed = msgspec.structs.replace(series, **change)
    try:
        wire.to_window(changed)
        expected = None
    except ValueError:
        expected = "series[0]"

    assert refused_at(codec.encode(batch_of(changed))) == expected


def refused_at(data: bytes) -> str | None:
    """The path at which a batch is refused; None if it is taken. Any other exception escapes."""
    try:
        wire.decode_batch(data)
    except WireError as error:
        return error.path
    return None


@given(st.binary(max_size=200))
def test_no_bytes_escape_the_decoder(data: bytes) -> None:
    """Whatever arrives is a batch or a WireError with a path, never another exception."""
    assert refused_at(data) != ""


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=20))
def test_no_document_in_a_place_escapes_the_decoder(value: object) -> None:
    """Any JSON value in place of a batch's member is taken or refused with a path."""
    plain = msgspec.json.decode(codec.encode(batch_of(series_of())))
    for member in plain:
        assert refused_at(msgspec.json.encode(plain | {member: value})) != ""


@pytest.mark.parametrize(
    ("member", "at_limit", "past"),
    [
        ("seq", wire.INT63_MAX, wire.INT63_MAX + 1),
        ("seq", 0, -1),
        ("sealed_at_us", wire.TIME_S_MAX * 1_000_000, wire.TIME_S_MAX * 1_000_000 + 1),
        ("agent", "a" * 63, "a" * 64),
        ("epoch", "f" * 32, "f" * 33),
        ("v", wire.WIRE_VERSION, wire.WIRE_VERSION + 1),
        ("v", 1, 0),
        ("boot_id", "a" * 36, "a" * 37),
        ("boottime_us", wire.INT63_MAX, wire.INT63_MAX + 1),
        ("clock_offset_us", -wire.INT63_MAX, -wire.INT63_MAX - 1),
        ("gaps", [GAP] * wire.GAPS_MAX, [GAP] * (wire.GAPS_MAX + 1)),
    ],
)
def test_each_limit_of_a_batch_holds(member: str, at_limit: object, past: object) -> None:
    """The value at the limit passes, one past it is refused and named."""
    assert refused_at(codec.encode(batch_of(**{member: at_limit}))) is None

    with pytest.raises(WireError) as refused:
        wire.decode_batch(codec.encode(batch_of(**{member: past})))
    assert refused.value.path == member


@pytest.mark.parametrize(
    ("member", "at_limit", "past"),
    [
        ("rtt_us", [RTT_US_MAX] * 60, [RTT_US_MAX + 1] * 60),
        ("rtt_us", [0] * 60, [-1] * 60),
        ("start_s", wire.TIME_S_MAX, wire.TIME_S_MAX + 60),
        ("start_s", START_S, START_S + 1),
        ("target", "a" * 63, "a" * 64),
        ("address", "a" * 253, "a" * 254),
        ("duplicates", RTT_US_MAX, RTT_US_MAX + 1),
    ],
)
def test_each_limit_of_a_series_holds(member: str, at_limit: object, past: object) -> None:
    """The value at the limit passes, one past it is refused and named."""
    assert refused_at(codec.encode(batch_of(series_of(**{member: at_limit})))) is None

    with pytest.raises(WireError) as refused:
        wire.decode_batch(codec.encode(batch_of(series_of(**{member: past}))))
    assert refused.value.path.startswith(f"series[0].{member}")


def test_the_largest_batch_has_so_many_windows() -> None:
    """SERIES_MAX windows pass, one more does not."""
    many = [series_of(start_s=60 * n) for n in range(wire.SERIES_MAX + 1)]

    assert refused_at(codec.encode(batch_of(*many[:-1]))) is None
    with pytest.raises(WireError) as refused:
        wire.decode_batch(codec.encode(batch_of(*many)))
    assert refused.value.path == "series"


def test_a_window_twice_in_a_batch_is_refused() -> None:
    """The same minute of the same target may be there once."""
    with pytest.raises(WireError, match="second window of 'ams1'") as refused:
        wire.decode_batch(codec.encode(batch_of(series_of(), series_of(start_s=60), series_of())))
    assert refused.value.path == "series[2]"


def test_an_agent_reads_the_answers_of_a_newer_collector() -> None:
    """Keys it does not know are passed over in everything a collector answers."""
    digest = "0" * 64

    ack = codec.decode(msgspec.json.encode({"digest": digest, "from_the_future": [1]}), wire.Ack)

    assert ack == wire.Ack(digest=digest)
