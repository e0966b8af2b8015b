"""Every SQL statement of the projector, by name. Names of tables come from our own code and are quoted by psycopg."""

from typing import LiteralString

from psycopg.sql import SQL, Composed, Identifier

from playhead_projector.table import Table

SCHEMA = "read"

BECOME_SERVICE = "set role playhead_service"
"""The read models belong to the group role, so that any member can swap them."""

DO_NOT_WAIT_FOR_FSYNC = "set synchronous_commit = off"
"""Rows and checkpoint are one transaction: a power cut takes back both, and the log tells them again."""

LOCK_SCHEMA = "select pg_advisory_xact_lock(5063)"
"""`create table if not exists` fails when two do it at once."""

TRY_LOCK = "select pg_try_advisory_lock(%s)"

STILL_THERE = "select 1"

CREATE_CHECKPOINTS = (
    "create table if not exists read.checkpoints "
    "(projection text primary key, position bigint not null, updated_at timestamptz not null)"
)

ADD_CHECKPOINTS = (
    "insert into read.checkpoints select unnest(%s::text[]), 0, clock_timestamp() on conflict (projection) do nothing"
)

READ_CHECKPOINTS = "select projection, position, updated_at from read.checkpoints where projection = any(%s)"

LOCK_CHECKPOINTS = (
    "select projection, position from read.checkpoints where projection = any(%s) order by projection for update"
)
"""In one order everywhere, so that a batch and a swap never wait for each other."""

MOVE_CHECKPOINTS = (
    "update read.checkpoints set position = %s, updated_at = clock_timestamp() where projection = any(%s)"
)

READ_POSITION = "select position from read.checkpoints where projection = %s"

WRITE_POSITION = (
    "insert into read.checkpoints values (%s, %s, clock_timestamp()) "
    "on conflict (projection) do update set position = excluded.position, updated_at = excluded.updated_at"
)

CREATE_WATCHES = (
    "create table if not exists read.open_watches "
    "(execution_id uuid, path text, watch json not null, primary key (execution_id, path))"
)
"""What the courier has in memory. It is derived from the log, like its checkpoint: both can be thrown away together."""

READ_WATCHES = "select watch::text from read.open_watches"

WRITE_WATCHES = (
    "insert into read.open_watches select * from unnest(%b::text[]::uuid[], %b::text[], %b::text[]::json[]) "
    "on conflict (execution_id, path) do update set watch = excluded.watch"
)

DELETE_WATCHES = (
    "delete from read.open_watches w using unnest(%b::text[]::uuid[], %b::text[]) as gone (execution_id, path) "
    "where w.execution_id = gone.execution_id and w.path = gone.path"
)

COLUMNS = (
    "select a.attname from pg_attribute a where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped "
    "order by a.attnum"
)

WAIT_FOR_LOCKS_AT_MOST = "set local lock_timeout = '500ms'"
"""Less than the second after which PostgreSQL looks for deadlocks: a swap gives way, never a reader."""


def full_name(table: Table, suffix: str = "") -> str:
    return f"{SCHEMA}.{table.name}{suffix}"


def create(table: Table, suffix: str) -> Composed:
    columns = SQL(", ").join(SQL("{} {}").format(Identifier(name), SQL(kind)) for name, kind in table.columns.items())
    return SQL("create table if not exists {} ({}, constraint {} primary key ({}))").format(
        _table(table, suffix),
        columns,
        Identifier(_primary_key(table, suffix)),
        SQL(", ").join(map(Identifier, table.key)),
    )


def create_index(table: Table, suffix: str, index: str) -> Composed:
    return SQL("create index if not exists {} on {} {}").format(
        Identifier(_index(table, suffix, index)), _table(table, suffix), SQL(table.indexes[index])
    )


def upsert(table: Table, suffix: str) -> Composed:
    """One array parameter for each column. A list of lists cannot be unnested: an array column comes as literals."""
    types: dict[str, LiteralString] = {name: kind.split()[0] for name, kind in table.columns.items()}
    changing = [name for name in table.columns if name not in table.key and name not in table.kept]
    return SQL("insert into {} select {} from unnest({}) as rows ({}) on conflict ({}) do update set {}").format(
        _table(table, suffix),
        SQL(", ").join(SQL("{}::{}").format(Identifier(name), SQL(kind)) for name, kind in types.items()),
        SQL(", ").join(SQL("%b::{}").format(SQL(_array_type(kind))) for kind in types.values()),
        SQL(", ").join(map(Identifier, types)),
        SQL(", ").join(map(Identifier, table.key)),
        SQL(", ").join(SQL("{0} = excluded.{0}").format(Identifier(name)) for name in changing),
    )


def drop(table: Table, suffix: str) -> Composed:
    return SQL("drop table if exists {}").format(_table(table, suffix))


def analyze(table: Table, suffix: str) -> Composed:
    return SQL("analyze {}").format(_table(table, suffix))


def swap_in(table: Table, suffix: str) -> list[Composed]:
    """Put the table with this suffix in the place of the live one, under the live one's names."""
    renamed = {_primary_key(table, suffix): _primary_key(table, "")}
    renamed |= {_index(table, suffix, index): _index(table, "", index) for index in table.indexes}
    return [
        drop(table, ""),
        SQL("alter table {} rename to {}").format(_table(table, suffix), Identifier(table.name)),
        *(
            SQL("alter index {} rename to {}").format(Identifier(SCHEMA, old), Identifier(new))
            for old, new in renamed.items()
        ),
    ]


def _table(table: Table, suffix: str) -> Identifier:
    return Identifier(SCHEMA, table.name + suffix)


def _primary_key(table: Table, suffix: str) -> str:
    return f"{table.name}{suffix}_pkey"


def _index(table: Table, suffix: str, index: str) -> str:
    return f"{table.name}{suffix}_{index}"


def _array_type(kind: LiteralString) -> LiteralString:
    return "text[]" if kind == "json" or kind.endswith("[]") else f"{kind}[]"
