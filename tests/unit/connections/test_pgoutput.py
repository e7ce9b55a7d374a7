"""Messages of PostgreSQL's log: bytes that are none are an error of that look, whatever they are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataops_assets.connections.databases.pgoutput import Change, Committed, decoded
from dataops_assets.errors import InputError

BEGIN = struct.pack(">cQqI", b"B", 10, 0, 7)
COLUMN = b"id\0" + struct.pack(">Ii", 23, -1)
RELATION = struct.pack(">cI", b"R", 1) + b"public\0t\0d" + struct.pack(">hB", 1, 1) + COLUMN
INSERT = struct.pack(">cIch", b"I", 1, b"N", 1) + struct.pack(">ci", b"t", 1) + b"5"
COMMIT = struct.pack(">cBQQq", b"C", 0, 10, 12, 0)
GOOD = [BEGIN, RELATION, INSERT, COMMIT]


def test_changes_and_the_end_of_their_transaction_are_given() -> None:
    change, end = decoded(GOOD, "public.t")
    assert isinstance(change, Change)
    assert (change.operation, change.after, change.number) == ("c", {"id": "5"}, 1)
    assert (change.transaction.xid, change.transaction.lsn, end) == (7, 10, Committed(12))
    assert list(decoded(GOOD, "public.other")) == [Committed(12)]


@given(st.integers(0, 3), st.integers(0, 30), st.binary(max_size=4))
def test_damaged_messages_are_an_error_or_other_values(which: int, at: int, put: bytes) -> None:
    damaged = list(GOOD)
    damaged[which] = damaged[which][:at] + put
    try:
        found = list(decoded(damaged, "public.t"))
    except InputError as error:
        assert "pgoutput" in str(error)  # noqa: PT017
        return
    assert all(isinstance(item, Change | Committed) for item in found)


def test_any_bytes_are_no_messages() -> None:
    with pytest.raises(InputError, match="nothing of this look was taken"):
        list(decoded([BEGIN, b"I\0"], "public.t"))
    # a value that was cut is no shorter value
    for cut in (INSERT[:-1], INSERT[:-5] + struct.pack(">i", -1) + b"5"):
        with pytest.raises(InputError, match="a value that ends at"):
            list(decoded([BEGIN, RELATION, cut], "public.t"))
    with pytest.raises(InputError, match="outside a transaction"):
        list(decoded(GOOD[1:], "public.t"))
