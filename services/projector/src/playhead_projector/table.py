"""A read model's table as a value, and the values its rows are made of."""

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString

import msgspec

Cell = str | int | float | datetime | None
Row = tuple[Cell, ...]
"""One row, in the order of the table's columns. JSON is text, and so is an array (see `text_array`)."""

_json = msgspec.json.Encoder()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What a read model's table looks like. `columns` are from name to SQL type, with `not null` where it holds.

    JSON is kept in `json` columns: `jsonb` refuses the character U+0000 in a text, and changes key order and numbers.
    """

    name: str
    columns: dict[str, LiteralString]
    key: tuple[str, ...]
    kept: frozenset[str] = frozenset()
    """Columns whose first value stays."""
    indexes: dict[str, LiteralString] = {}
    """From a short name to what follows the table's name in `create index`."""


def json_text(value: object) -> str | None:
    """For a `json` column. None is SQL's null."""
    return None if value is None else _json.encode(value).decode()


def plain_text(value: str | None) -> str | None:
    """For a `text` column, which cannot hold U+0000: that becomes U+FFFD here, and stays itself in the log."""
    return value.replace("\x00", "\ufffd") if value is not None and "\x00" in value else value


def text_array(values: Sequence[str] | None) -> str | None:
    """For a `text[]` column, as the literal that PostgreSQL reads."""
    if values is None:
        return None
    quoted = (str(plain_text(value)).replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"
