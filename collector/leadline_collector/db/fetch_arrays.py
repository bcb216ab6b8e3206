"""Many rows of whole numbers at once: as an array on both databases, without a Python object for each of them."""

from __future__ import annotations

from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Connection, Select, cast

IntRows: TypeAlias = NDArray[np.int64]

#: COPY … (FORMAT binary): signature, flags and length of an extension before the rows, -1 as 16 bits after them.
_HEADER_BYTES, _TRAILER_BYTES = 19, 2


def fetch_int_rows(connection: Connection, query: Select[tuple[int, ...]]) -> IntRows:
    """The rows of a query whose columns are whole numbers and never NULL."""
    width = len(query.selected_columns)
    if connection.dialect.name == "postgresql":
        return _fetch_by_copy(connection, query, width)
    found = connection.execute(query).cursor.fetchall()
    return np.fromiter(chain.from_iterable(found), np.int64, len(found) * width).reshape(-1, width)


def _fetch_by_copy(connection: Connection, query: Select[tuple[int, ...]], width: int) -> IntRows:
    """By COPY in binary: every field is a length of 32 bits and a number of 64, so the answer is an array already."""
    wide = query.with_only_columns(*(cast(column, BigInteger) for column in query.selected_columns))
    text = str(wide.compile(connection, compile_kwargs={"literal_binds": True})).replace("%%", "%")
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY ({text}) TO STDOUT (FORMAT binary)") as copy:
        data = b"".join(copy)
    row = np.dtype([("fields", ">i2"), ("field", [("length", ">i4"), ("value", ">i8")], (width,))])
    found = np.frombuffer(data, row, (len(data) - _HEADER_BYTES - _TRAILER_BYTES) // row.itemsize, _HEADER_BYTES)
    return found["field"]["value"].astype(np.int64)
