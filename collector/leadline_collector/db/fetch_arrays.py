"""Integer query results as numpy arrays on both databases, without a Python object per value."""

from __future__ import annotations

from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Connection, Select, cast

IntRows: TypeAlias = NDArray[np.int64]

#: COPY … (FORMAT binary): signature, flags and extension length before the rows, -1 as 16 bits after them.
_HEADER_BYTES, _TRAILER_BYTES = 19, 2


def fetch_int_rows(connection: Connection, query: Select[tuple[int, ...]]) -> IntRows:
    """Return the rows of a query; all its columns must be integers and never NULL."""
    width = len(query.selected_columns)
    if connection.dialect.name == "postgresql":
        return _fetch_by_copy(connection, query, width)
    rows = connection.execute(query).cursor.fetchall()
    return np.fromiter(chain.from_iterable(rows), np.int64, len(rows) * width).reshape(-1, width)


def _fetch_by_copy(connection: Connection, query: Select[tuple[int, ...]], width: int) -> IntRows:
    """Fetch by binary COPY: each field is a 32-bit length and a 64-bit integer, so numpy reads the bytes directly."""
    bigint_query = query.with_only_columns(*(cast(column, BigInteger) for column in query.selected_columns))
    text = str(bigint_query.compile(connection, compile_kwargs={"literal_binds": True})).replace("%%", "%")
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY ({text}) TO STDOUT (FORMAT binary)") as copy:
        data = b"".join(copy)
    row_type = np.dtype([("fields", ">i2"), ("field", [("length", ">i4"), ("value", ">i8")], (width,))])
    row_count = (len(data) - _HEADER_BYTES - _TRAILER_BYTES) // row_type.itemsize
    rows = np.frombuffer(data, row_type, row_count, _HEADER_BYTES)
    return rows["field"]["value"].astype(np.int64)
