"""Encoding and decoding of batches; errors have the path inside the document."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import WireError
from leadline.model import RTT_US_MAX, ErrorBound, Failure, Miss, Window, build_window
from leadline.wire import codec
from leadline.wire.batch import (
    GAPS_MAX,
    INT63_MAX,
    SERIES_MAX,
    TIME_S_MAX,
    WIRE_VERSION,
    Ack,
    Batch,
    Gap,
    GapReason,
    TargetWindow,
    decode_batch,
    iter_windows,
    to_target_window,
    to_window,
)

START_S = 1_795_327_200
GAP = Gap(reason=GapReason.AGENT_DOWN, from_s=START_S, to_s=START_S + 60)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Draw a valid window of up to 120 slots."""
    interval_ms = draw(st.sampled_from([500, 1_000, 2_000, 5_000, 60_000]))
    slots = range(60_000 // interval_ms)
    rtts = draw(st.dictionaries(st.sampled_from(slots), st.integers(0, RTT_US_MAX)))
    misses = [draw(misses_at(slot)) for slot in slots if slot not in rtts]
    p50_us = draw(st.integers(0, 1_000))
    bound = draw(st.none() | st.integers(p50_us, 5_000).map(lambda p99: ErrorBound(p50_us=p50_us, p99_us=p99)))
    start_s = 60 * draw(st.integers(0, TIME_S_MAX // 60))
    return build_window(start_s, interval_ms, rtts, misses, duplicates=draw(st.integers(0, 9)), error_bound=bound)


def misses_at(slot: int) -> st.SearchStrategy[Miss]:
    """Return a strategy for misses of a slot, all with a detail."""
    return st.builds(Miss, st.just(slot), st.sampled_from(Failure), st.integers(0, RTT_US_MAX))


def batch_of(*series: TargetWindow, **changes: object) -> Batch:
    """Build a batch of target windows, with members replaced."""
    batch = Batch(
        v=1, agent="fra1", epoch="0" * 32, seq=0, mesh_version=0, sealed_at_us=0, monotonic_us=0, series=list(series)
    )
    return msgspec.structs.replace(batch, **changes)


def target_window_of(**changes: object) -> TargetWindow:
    """Build a target window of 60 probes of 1 ms, with members replaced by valid or invalid values."""
    window = Window(start_s=START_S, interval_ms=1_000, rtt_us=(1_000,) * 60)
    return msgspec.structs.replace(to_target_window("ams1", "192.0.2.1", window), **changes)


@settings(max_examples=settings().max_examples * 2 // 5)  # each example has hundreds of slots
@given(st.lists(windows(), max_size=3, unique_by=lambda window: window.start_s))
def test_an_encoded_batch_decodes_to_the_same_batch(sent: list[Window]) -> None:
    """The windows are equal as well."""
    batch = batch_of(*(to_target_window("ams1", "192.0.2.1", window) for window in sent))

    decoded = decode_batch(codec.encode(batch))

    assert decoded == batch
    assert [window for _, window in iter_windows(decoded)] == sent


@settings(max_examples=settings().max_examples * 3 // 5)
@given(windows(), st.data())
def test_the_decoder_refuses_invalid_windows(window: Window, data: st.DataObject) -> None:
    """The decoder accepts a changed window exactly if ``to_window`` accepts it."""
    series = to_target_window("ams1", "192.0.2.1", window)
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
        to_window(changed)
        expected = None
    except ValueError:
        expected = "series[0]"

    assert refused_at(codec.encode(batch_of(changed))) == expected


def refused_at(data: bytes) -> str | None:
    """Return the path of the WireError for a batch; None if it is accepted. Other exceptions propagate."""
    try:
        decode_batch(data)
    except WireError as error:
        return error.path
    return None


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_raise_a_wire_error(data: bytes) -> None:
    """The error has a path."""
    assert refused_at(data) != ""


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=20))
def test_any_value_of_a_member_decodes_or_raises_a_wire_error(value: object) -> None:
    """The error has a path."""
    document = msgspec.json.decode(codec.encode(batch_of(target_window_of())))
    for member in document:
        assert refused_at(msgspec.json.encode(document | {member: value})) != ""


@pytest.mark.parametrize(
    ("member", "at_limit", "past"),
    [
        ("seq", INT63_MAX, INT63_MAX + 1),
        ("seq", 0, -1),
        ("sealed_at_us", TIME_S_MAX * 1_000_000, TIME_S_MAX * 1_000_000 + 1),
        ("agent", "a" * 63, "a" * 64),
        ("epoch", "f" * 32, "f" * 33),
        ("v", WIRE_VERSION, WIRE_VERSION + 1),
        ("v", 1, 0),
        ("boot_id", "a" * 36, "a" * 37),
        ("boottime_us", INT63_MAX, INT63_MAX + 1),
        ("clock_offset_us", -INT63_MAX, -INT63_MAX - 1),
        ("gaps", [GAP] * GAPS_MAX, [GAP] * (GAPS_MAX + 1)),
    ],
)
def test_each_limit_of_a_batch_is_enforced(member: str, at_limit: object, past: object) -> None:
    """The value at the limit is accepted; the next value is refused with its path."""
    assert refused_at(codec.encode(batch_of(**{member: at_limit}))) is None

    with pytest.raises(WireError) as refused:
        decode_batch(codec.encode(batch_of(**{member: past})))
    assert refused.value.path == member


@pytest.mark.parametrize(
    ("member", "at_limit", "past"),
    [
        ("rtt_us", [RTT_US_MAX] * 60, [RTT_US_MAX + 1] * 60),
        ("rtt_us", [0] * 60, [-1] * 60),
        ("start_s", TIME_S_MAX, TIME_S_MAX + 60),
        ("start_s", START_S, START_S + 1),
        ("target", "a" * 63, "a" * 64),
        ("address", "a" * 253, "a" * 254),
        ("duplicates", RTT_US_MAX, RTT_US_MAX + 1),
    ],
)
def test_each_limit_of_a_target_window_is_enforced(member: str, at_limit: object, past: object) -> None:
    """The value at the limit is accepted; the next value is refused with its path."""
    assert refused_at(codec.encode(batch_of(target_window_of(**{member: at_limit})))) is None

    with pytest.raises(WireError) as refused:
        decode_batch(codec.encode(batch_of(target_window_of(**{member: past}))))
    assert refused.value.path.startswith(f"series[0].{member}")


def test_the_number_of_windows_is_limited() -> None:
    """SERIES_MAX windows are accepted, one more is refused."""
    many = [target_window_of(start_s=60 * n) for n in range(SERIES_MAX + 1)]

    assert refused_at(codec.encode(batch_of(*many[:-1]))) is None
    with pytest.raises(WireError) as refused:
        decode_batch(codec.encode(batch_of(*many)))
    assert refused.value.path == "series"


def test_duplicate_windows_are_refused() -> None:
    """Two windows of the same minute and target."""
    with pytest.raises(WireError, match="second window of 'ams1'") as refused:
        decode_batch(codec.encode(batch_of(target_window_of(), target_window_of(start_s=60), target_window_of())))
    assert refused.value.path == "series[2]"


def test_an_agent_ignores_unknown_keys_in_responses() -> None:
    """A newer collector may add keys to its responses."""
    digest = "0" * 64

    ack = codec.decode(msgspec.json.encode({"digest": digest, "from_the_future": [1]}), Ack)

    assert ack == Ack(digest=digest)
