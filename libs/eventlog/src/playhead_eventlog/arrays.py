"""PostgreSQL arrays in binary form, packed by us.

psycopg dumps a list element by element, escaping each in Python: more than half of an executor's time at full load.
An append is fifteen flat arrays without nulls, whose wire format is a header and length-prefixed items
(`array_recv` in PostgreSQL's source).
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from struct import Struct

from psycopg import AsyncConnection
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format
from psycopg.rows import TupleRow

_HEADER = Struct("!iiIii").pack
_INT4 = Struct("!ii").pack
_INT8 = Struct("!iq").pack
_LENGTH = Struct("!i").pack

_TEXT_OID, _INT4_OID, _BYTEA_OID, _TIMESTAMPTZ_OID = 25, 23, 17, 1184
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Packed:
    """A parameter that is in PostgreSQL's binary format already."""

    __slots__ = ("data",)

    def __init__(self, data: bytes):
        self.data = data


def texts(items: list[bytes]) -> Packed:
    """text[], from UTF-8."""
    return _packed(_TEXT_OID, items)


def byteas(items: list[bytes]) -> Packed:
    """bytea[]."""
    return _packed(_BYTEA_OID, items)


def integers(items: list[int]) -> Packed:
    """int4[]."""
    return _joined(_INT4_OID, len(items), (_INT4(4, item) for item in items))


def moments(items: list[datetime]) -> Packed:
    """timestamptz[]."""
    return _joined(_TIMESTAMPTZ_OID, len(items), (_INT8(8, (item - _EPOCH) // _MICROSECOND) for item in items))


def accept_packed(connection: AsyncConnection[TupleRow]) -> None:
    """Let `Packed` parameters pass on this connection; the statement's casts say what they are."""
    connection.adapters.register_dumper(Packed, _PackedDumper)


def _packed(oid: int, items: list[bytes]) -> Packed:
    return _joined(oid, len(items), (part for item in items for part in (_LENGTH(len(item)), item)))


def _joined(oid: int, count: int, parts: Iterable[bytes]) -> Packed:
    # One dimension, no nulls, counted from 1.
    return Packed(_HEADER(1, 0, oid, count, 1) + b"".join(parts))


class _PackedDumper(Dumper):
    format = Format.BINARY
    oid = 0

    def dump(self, obj: Packed) -> Buffer | None:
        return obj.data
