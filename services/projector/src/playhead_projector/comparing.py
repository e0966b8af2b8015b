"""Two sets of read models, row by row."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import msgspec
import psycopg
from psycopg.errors import UndefinedTable

from playhead_contracts.errors import Conflict
from playhead_eventlog import LogUnavailable
from playhead_projector import queries
from playhead_projector.queries import BUILDING, LIVE, SET_PREFIX
from playhead_projector.sets import BUILDING_NAME, LIVE_NAME, schema_of
from playhead_projector.settings import Settings
from playhead_projector.store import Checkpoint, Store, open_store

ROWS_SHOWN = 20
"""Of each table that differs."""

_NOT_READ_MODELS = frozenset({"checkpoints", "open_watches"})


class ReadSet(msgspec.Struct, frozen=True):
    """Read models that belong together. `state` is `live`, `whole` or `unfinished`: being built, or left behind.

    `positions`: where each of them is. `at`: when the newest of them got there.
    """

    name: str
    schema: str
    state: str
    positions: dict[str, int]
    at: datetime | None


class Difference(msgspec.Struct, frozen=True):
    """One row that is not the same: its key, and the two values of each column that differs, as texts.

    `only_in` is `a` or `b` when the other has no such row.
    """

    key: dict[str, str | None]
    only_in: str | None
    columns: dict[str, tuple[str | None, str | None]]


class TableDifference(msgspec.Struct, frozen=True):
    """A table that is not the same in `a` and in `b`: how many rows differ in which way, and the first of them."""

    table: str
    only_in_a: int = 0
    only_in_b: int = 0
    differing: int = 0
    rows: tuple[Difference, ...] = ()
    shape: str | None = None
    """What is different about the table itself."""


class Comparison(msgspec.Struct, frozen=True):
    """What two sets have in common, and what not."""

    a: ReadSet
    b: ReadSet
    same: bool
    same_tables: tuple[str, ...]
    tables: tuple[TableDifference, ...]


class SetChanged(Conflict):
    """A table was swapped or dropped just before it was to be read."""

    def __init__(self) -> None:
        super().__init__("one of these sets was swapped or dropped meanwhile; try again")


class _Found(msgspec.Struct, frozen=True):
    """A table as it is in the database."""

    columns: tuple[str, ...]
    key: tuple[str, ...]


async def list_sets(settings: Settings) -> list[ReadSet]:
    """The live read models, and those beside them. Raises LogUnavailable."""
    found: list[ReadSet] = []
    async with _reading(settings) as store:
        for schema in [LIVE, *await store.sets()]:
            with suppress(UndefinedTable):  # gone meanwhile
                found.append(await _read_set(store, schema))
    return found


async def compare(settings: Settings, a: str, b: str) -> Comparison:
    """Compare two sets by name, as both are at one moment; `live` is a name too.

    Raises UnknownSet, SetChanged, LogUnavailable.
    """
    async with _reading(settings) as store:
        schemas = await schema_of(store, a), await schema_of(store, b)
        held = [(schema, table) for schema in schemas for table in await _tables(store, schema)]
        try:
            async with store.one_moment(held):
                return await compared(store, *schemas)
        except UndefinedTable as exc:
            raise SetChanged from exc


async def compared(store: Store, a: str, b: str, only: Sequence[str] | None = None) -> Comparison:
    """Compare two schemas; `only` these tables, if given. For one answer, inside `Store.one_moment`."""
    of_a, of_b = await _tables(store, a, only), await _tables(store, b, only)
    found: list[TableDifference] = []
    same: list[str] = []
    for name in sorted(of_a.keys() | of_b.keys()):
        if name not in of_a or name not in of_b:
            found.append(TableDifference(name, shape=f"only in {'a' if name in of_a else 'b'}"))
        elif difference := await _compared(store, name, a, b, of_a[name], of_b[name]):
            found.append(difference)
        else:
            same.append(name)
    return Comparison(await _read_set(store, a), await _read_set(store, b), not found, tuple(same), tuple(found))


@asynccontextmanager
async def _reading(settings: Settings) -> AsyncGenerator[Store]:
    try:
        async with open_store(settings.database_url) as store:
            await store.create_checkpoints()
            yield store
    except psycopg.OperationalError as exc:
        raise LogUnavailable(f"the database does not answer: {exc}") from exc


async def _compared(store: Store, table: str, a: str, b: str, in_a: _Found, in_b: _Found) -> TableDifference | None:
    shape: list[str] = []
    for side, mine, other in (("a", in_a, in_b), ("b", in_b, in_a)):
        shape += [f"column {name} only in {side}" for name in mine.columns if name not in other.columns]
    if in_a.key != in_b.key:
        return TableDifference(table, shape="; ".join([*shape, "another primary key"]))
    key = in_a.key
    columns = [*key, *(name for name in in_a.columns if name in in_b.columns and name not in key)]
    values = columns[len(key) :]
    counts = (await store.fetch(queries.count_differences(table, a, b, key, values), ()))[0]
    if not any(counts) and not shape:
        return None
    rows = await store.fetch(queries.read_differences(table, a, b, key, columns), (ROWS_SHOWN,))
    return TableDifference(
        table,
        *counts,
        rows=tuple(_difference(key, columns, *row) for row in rows),
        shape="; ".join(shape) or None,
    )


def _difference(
    key: Sequence[str], columns: Sequence[str], in_a: bool, in_b: bool, a: Sequence[str | None], b: Sequence[str | None]
) -> Difference:
    found = dict(zip(columns, a if in_a else b, strict=True))
    differing: dict[str, tuple[str | None, str | None]] = {}
    if in_a and in_b:
        differing = {name: (x, y) for name, x, y in zip(columns, a, b, strict=True) if x != y}
    return Difference({name: found[name] for name in key}, None if in_a and in_b else "a" if in_a else "b", differing)


async def _tables(store: Store, schema: str, only: Sequence[str] | None = None) -> Mapping[str, _Found]:
    rows = await store.fetch(queries.TABLES, (schema,))
    return {
        name: _Found(tuple(columns), tuple(key))
        for name, columns, key in rows
        if name not in _NOT_READ_MODELS and key and (only is None or name in only)
    }


async def _read_set(store: Store, schema: str) -> ReadSet:
    checkpoints: dict[str, Checkpoint] = await store.checkpoints(None, schema)
    return ReadSet(
        name={LIVE: LIVE_NAME, BUILDING: BUILDING_NAME}.get(schema, schema.removeprefix(SET_PREFIX)),
        schema=schema,
        state={LIVE: "live", BUILDING: "unfinished"}.get(schema, "whole"),
        positions={name: checkpoint.position for name, checkpoint in checkpoints.items()},
        at=max((checkpoint.updated_at for checkpoint in checkpoints.values()), default=None),
    )
