"""A read model's table as a value, and the values its rows are made of."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import LiteralString

import msgspec

Cell = str | int | float | Decimal | datetime | date | None
Row = tuple[Cell, ...]
"""One row, in the order of the table's columns. JSON is text, and so is an array (see `text_array`)."""

KINDS = frozenset(
    {"text", "uuid", "integer", "bigint", "numeric", "float8", "boolean", "date", "timestamptz", "json", "text[]"}
)
"""The SQL types that columns have."""

_json = msgspec.json.Encoder()


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """What a read model's table looks like. `columns` are from name to one of KINDS, with `not null` where it holds.

    JSON is kept in `json` columns: `jsonb` refuses the character U+0000 in a text, and changes key order and numbers.
    """

    name: str
    columns: dict[str, LiteralString]
    key: tuple[str, ...]
    kept: frozenset[str] = frozenset()
    """Columns whose first value stays."""
    added: frozenset[str] = frozenset()
    """Columns of numbers to which a row's value is added. The sum must not depend on the order: no `float8`."""
    indexes: dict[str, LiteralString] = {}
    """From a short name to what follows the table's name in `create index`."""

    @property
    def shape(self) -> str:
        """A digest of everything that rows depend on. Indexes are no part of it: a new one is made where it is."""
        described = (tuple(self.columns.items()), self.key, sorted(self.kept), sorted(self.added))
        return sha256(_json.encode(described)).hexdigest()[:16]

    @property
    def relations(self) -> list[str]:
        """The names that it takes in its schema: its own, and those of its indexes."""
        return [self.name, f"{self.name}_pkey", *(f"{self.name}_{index}" for index in self.indexes)]


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
