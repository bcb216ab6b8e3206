"""Marks: whoever writes windows says which hours to compact, and from where on they may differ from their rollups."""

from __future__ import annotations

from leadline_collector.db.transactions import Store
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import DirtyHour
from tests.integration.conftest import Client
from tests.support.documents import NOW_S, OTHER_EPOCH, build_batch, build_steady_window, encode_body

HOUR = NOW_S


def found(store: Store) -> list[DirtyHour]:
    """Every mark."""
    with store.read() as reader:
        return dirty_hours.load_dirty_hours(reader.connection, 0, 1 << 40)


def test_a_batch_marks_the_hours_of_its_windows(client: Client, store: Store, fra1: str) -> None:
    """Each hour once, from its earliest window of the batch."""
    times = (HOUR - 60, HOUR + 120, HOUR + 180)
    client.post(build_batch(*(("ams1", build_steady_window(2_000, t)) for t in times)), fra1)

    assert [(one.hour_s, one.version, one.watermark_s) for one in found(store)] == [
        (HOUR - 3_600, 1, HOUR - 60),
        (HOUR, 1, HOUR + 120),
    ]


def test_every_batch_makes_a_mark_younger_and_none_makes_it_shorter(client: Client, store: Store, fra1: str) -> None:
    """The version grows; ``since`` only falls."""
    for seq, t in enumerate((HOUR + 600, HOUR + 660, HOUR + 60)):
        client.post(build_batch(("ams1", build_steady_window(2_000, t)), seq=seq), fra1)

    assert [(one.version, one.watermark_s) for one in found(store)] == [(3, HOUR + 60)]


def test_the_same_bytes_again_mark_nothing(client: Client, store: Store, fra1: str) -> None:
    """A retry writes no windows."""
    sent = encode_body(build_batch(("ams1", build_steady_window(2_000, HOUR))))
    client.post_bytes(sent, fra1)

    client.post_bytes(sent, fra1)

    assert [one.version for one in found(store)] == [1]


def test_a_window_that_is_merged_marks_its_hour(client: Client, store: Store, fra1: str) -> None:
    """The second half of a minute changes a row that may be compacted already."""
    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR))), fra1)
    (first,) = found(store)
    with store.write() as writer:
        dirty_hours.clear_dirty_hours(writer.connection, [first])

    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR)), epoch=OTHER_EPOCH), fra1)

    assert [(one.hour_s, one.watermark_s) for one in found(store)] == [(HOUR, HOUR)]


def test_a_mark_that_changed_is_not_what_it_was(client: Client, store: Store, fra1: str) -> None:
    """Compaction asks this before it writes."""
    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR))), fra1)
    before = found(store)
    with store.write() as writer:
        assert dirty_hours.is_unchanged(writer.connection, before)

    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR + 60)), seq=2), fra1)

    with store.write() as writer:
        assert not dirty_hours.is_unchanged(writer.connection, before)
        assert dirty_hours.is_unchanged(writer.connection, found(store))


def test_an_hour_that_is_not_over_stays_marked(client: Client, store: Store, fra1: str) -> None:
    """What was compacted so far is not read again from windows; what comes later is."""
    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR))), fra1)
    with store.write() as writer:
        dirty_hours.advance_watermark(writer.connection, found(store))
    assert [one.watermark_s for one in found(store)] == [HOUR + 3_600]

    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR + 300)), seq=2), fra1)

    assert [one.watermark_s for one in found(store)] == [HOUR + 300]


def test_the_lag_of_compaction_is_told(client: Client, store: Store, fra1: str) -> None:
    """Since the end of the oldest hour that is over and marked; 0 without any."""

    def lag() -> str:
        lines = client.send("GET", "/metrics").body.decode().splitlines()
        return next(line for line in lines if line.startswith("leadline_compaction_lag_seconds"))

    assert lag().split()[1] == "0.0"

    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR - 600))), fra1)

    assert lag().split()[1] == "3600.0"
