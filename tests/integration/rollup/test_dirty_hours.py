"""Dirty hours: writing windows marks the hours to compact, with the time from which their rollups may be outdated."""

from __future__ import annotations

from leadline_collector.db.transactions import Store
from leadline_collector.windows import dirty_hours
from leadline_collector.windows.dirty_hours import DirtyHour
from tests.integration.conftest import Client
from tests.support.documents import NOW_S, OTHER_EPOCH, build_batch, build_steady_window, encode_body

HOUR = NOW_S


def load_marks(store: Store) -> list[DirtyHour]:
    """Return all dirty hours."""
    with store.read() as reader:
        return dirty_hours.load_dirty_hours(reader.connection, 0, 1 << 40)


def test_a_batch_marks_the_hours_of_its_windows(client: Client, store: Store, fra1: str) -> None:
    """Each hour is marked once, from the earliest window of the batch."""
    times = (HOUR - 60, HOUR + 120, HOUR + 180)
    client.post(build_batch(*(("ams1", build_steady_window(2_000, t)) for t in times)), fra1)

    assert [(mark.hour_s, mark.version, mark.watermark_s) for mark in load_marks(store)] == [
        (HOUR - 3_600, 1, HOUR - 60),
        (HOUR, 1, HOUR + 120),
    ]


def test_every_batch_increases_the_version_and_never_the_watermark(client: Client, store: Store, fra1: str) -> None:
    """An earlier window lowers the watermark, a later one leaves it."""
    for seq, t in enumerate((HOUR + 600, HOUR + 660, HOUR + 60)):
        client.post(build_batch(("ams1", build_steady_window(2_000, t)), seq=seq), fra1)

    assert [(mark.version, mark.watermark_s) for mark in load_marks(store)] == [(3, HOUR + 60)]


def test_a_repeated_batch_marks_nothing(client: Client, store: Store, fra1: str) -> None:
    """A retry writes no windows."""
    body = encode_body(build_batch(("ams1", build_steady_window(2_000, HOUR))))
    client.post_bytes(body, fra1)

    client.post_bytes(body, fra1)

    assert [mark.version for mark in load_marks(store)] == [1]


def test_a_merged_window_marks_its_hour(client: Client, store: Store, fra1: str) -> None:
    """The second part of a minute changes a row that may be compacted already."""
    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR))), fra1)
    (first,) = load_marks(store)
    with store.write() as writer:
        dirty_hours.clear_dirty_hours(writer.connection, [first])

    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR)), epoch=OTHER_EPOCH), fra1)

    assert [(mark.hour_s, mark.watermark_s) for mark in load_marks(store)] == [(HOUR, HOUR)]


def test_a_changed_mark_is_detected(client: Client, store: Store, fra1: str) -> None:
    """Compaction checks this before it writes."""
    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR))), fra1)
    before = load_marks(store)
    with store.write() as writer:
        assert dirty_hours.is_unchanged(writer.connection, before)

    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR + 60)), seq=2), fra1)

    with store.write() as writer:
        assert not dirty_hours.is_unchanged(writer.connection, before)
        assert dirty_hours.is_unchanged(writer.connection, load_marks(store))


def test_an_open_hour_stays_marked(client: Client, store: Store, fra1: str) -> None:
    """Only windows that arrive after its compaction are read from ``window_stat``."""
    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR))), fra1)
    with store.write() as writer:
        dirty_hours.advance_watermark(writer.connection, load_marks(store))
    assert [mark.watermark_s for mark in load_marks(store)] == [HOUR + 3_600]

    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR + 300)), seq=2), fra1)

    assert [mark.watermark_s for mark in load_marks(store)] == [HOUR + 300]


def test_the_lag_of_compaction_is_a_metric(client: Client, store: Store, fra1: str) -> None:
    """It is the time since the end of the oldest complete dirty hour; 0 if there is none."""

    def lag() -> str:
        lines = client.send("GET", "/metrics").body.decode().splitlines()
        return next(line for line in lines if line.startswith("leadline_compaction_lag_seconds"))

    assert lag().split()[1] == "0.0"

    client.post(build_batch(("ams1", build_steady_window(2_000, HOUR - 600))), fra1)

    assert lag().split()[1] == "3600.0"
