"""SQL for reading chunks of raw RTTs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import Connection, select

from leadline.model import Window
from leadline_collector.db.tables import chunk
from leadline_collector.rollup.raw_codec import Chunk

_chunk_columns = chunk.c


def load_hour_windows(
    connection: Connection, src_id: int, hour_s: int, dst_ids: Mapping[str, int]
) -> Iterator[tuple[str, list[Window]]]:
    """Yield target name and windows of every chunk of an agent's hour; ``dst_ids`` maps target names to ids."""
    names = {dst_id: name for name, dst_id in dst_ids.items()}
    query = select(_chunk_columns.dst_id, _chunk_columns.body).where(
        _chunk_columns.src_id == src_id, _chunk_columns.dst_id.in_(names), _chunk_columns.t == hour_s
    )
    yield from ((names[row[0]], Chunk.decode(row[1]).to_windows(hour_s)) for row in connection.execute(query))


def load_path_chunks(
    connection: Connection, src_ids: Collection[int], dst_ids: Collection[int], hour_s: int
) -> dict[tuple[int, int], Chunk]:
    """Return the chunks of one hour of these paths, by agent id and target id."""
    query = select(_chunk_columns.src_id, _chunk_columns.dst_id, _chunk_columns.body).where(
        _chunk_columns.src_id.in_(src_ids), _chunk_columns.dst_id.in_(dst_ids), _chunk_columns.t == hour_s
    )
    return {(row[0], row[1]): Chunk.decode(row[2]) for row in connection.execute(query)}
