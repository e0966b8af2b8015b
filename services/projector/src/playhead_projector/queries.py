"""Every SQL statement of the projector, by name. Names of schemas and tables are quoted by psycopg."""

from collections.abc import Sequence
from typing import LiteralString

from psycopg.sql import SQL, Composed, Identifier

from playhead_projector.table import Table

LIVE = "read"
BUILDING = "read_building"
"""Where read models are built: never read, and dropped when whoever built there is gone."""
SET_PREFIX = "read_at_"
"""What the schemas of sets beside the live one begin with. What has such a name is whole."""

BECOME_SERVICE = "set role playhead_service"
"""The read models belong to the group role, so that any member can swap them."""

DO_NOT_WAIT_FOR_FSYNC = "set synchronous_commit = off"
"""Rows and checkpoint are one transaction: a power cut takes back both, and the log tells them again."""

LOCK_SCHEMA = "select pg_advisory_xact_lock(5063)"
"""`create table if not exists` fails when two do it at once."""

TRY_LOCK = "select pg_try_advisory_lock(%s)"

STILL_THERE = "select 1"

READ_ONE_MOMENT = "set transaction isolation level repeatable read"

WAIT_FOR_LOCKS_AT_MOST = "set local lock_timeout = '500ms'"
"""Less than the second after which PostgreSQL looks for deadlocks: a swap gives way, never a reader."""

# -- checkpoints

ADD_WHAT_CHECKPOINTS_HAD_NOT = (
    "alter table read.checkpoints add column if not exists version integer, add column if not exists shape text"
)

READ_POSITION = "select position from read.checkpoints where projection = %s"

WRITE_POSITION = (
    "insert into read.checkpoints (projection, position, updated_at) values (%s, %s, clock_timestamp()) "
    "on conflict (projection) do update set position = excluded.position, updated_at = excluded.updated_at"
)

CHECKPOINTS_WITHOUT_VERSION = (
    "select count(*) from (select to_regclass('read.checkpoints') as oid) t where oid is not null and not exists "
    "(select from pg_attribute where attrelid = t.oid and attname = 'version' and not attisdropped)"
)

ADOPT_CHECKPOINTS = "update read.checkpoints set version = 1 where projection = any(%s) and version is null"
"""Before versions were kept, there was one."""

ADOPT_SHAPE = "update read.checkpoints set shape = %s where projection = %s and shape is null"


def create_checkpoints(schema: str) -> Composed:
    return SQL(
        "create table if not exists {} (projection text primary key, position bigint not null, "
        "updated_at timestamptz not null, version integer, shape text)"
    ).format(_checkpoints(schema))


def add_checkpoints(schema: str) -> Composed:
    return SQL(
        "insert into {} (projection, position, updated_at, version, shape) "
        "select name, 0, clock_timestamp(), version, shape "
        "from unnest(%s::text[], %s::integer[], %s::text[]) as w (name, version, shape) "
        "on conflict (projection) do nothing"
    ).format(_checkpoints(schema))


def read_checkpoints(schema: str) -> Composed:
    return SQL(
        "select projection, position, updated_at, version, shape from {} where version is not null order by projection"
    ).format(_checkpoints(schema))


def lock_checkpoints(schema: str) -> Composed:
    """In one order everywhere, so that a batch and a swap never wait for each other."""
    return SQL(
        "select projection, position, updated_at, version, shape from {} where projection = any(%s) "
        "order by projection for update"
    ).format(_checkpoints(schema))


def move_checkpoints(schema: str) -> Composed:
    return SQL("update {} set position = %s, updated_at = clock_timestamp() where projection = any(%s)").format(
        _checkpoints(schema)
    )


MARK_CHECKPOINTS = (
    "update read.checkpoints c set position = w.position, version = w.version, shape = w.shape, "
    "updated_at = clock_timestamp() "
    "from unnest(%s::text[], %s::bigint[], %s::integer[], %s::text[]) as w (name, position, version, shape) "
    "where c.projection = w.name"
)

# -- what the courier keeps

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

# -- what the relay is asked for

CREATE_RELAY_REQUESTS = (
    "create table if not exists read.relay_requests (id bigint generated always as identity primary key, "
    "from_position bigint not null, asked_at timestamptz not null default clock_timestamp(), begun_at timestamptz)"
)

ASK_RELAY = "insert into read.relay_requests (from_position) values (%s) returning id"

OPEN_RELAY_REQUEST = "select id, from_position from read.relay_requests where begun_at is null order by id desc limit 1"

RELAY_BEGUN = "update read.relay_requests set begun_at = clock_timestamp() where id <= %s and begun_at is null"

HAS_RELAY_BEGUN = "select begun_at is not null from read.relay_requests where id = %s"

IS_LOCKED = "select 1 from pg_locks where locktype = 'advisory' and objid = %s and database = " + (
    "(select oid from pg_database where datname = current_database()) and granted"
)

# -- sets of read models beside the live one

BEGIN_BUILDING = "select read.begin_building()"
NAME_BUILDING = "select read.name_building(%s)"
FORGET_BUILDING = "delete from read_building.checkpoints where projection = %s"
DROP_BUILDING = "select read.drop_building()"
DROP_SET = "select read.drop_set(%s)"

HAS_SCHEMA = "select 1 from pg_namespace where nspname = %s"

SETS = (
    "select nspname from pg_namespace where (nspname = 'read_building' or starts_with(nspname, 'read_at_')) "
    "and to_regclass(quote_ident(nspname) || '.checkpoints') is not null order by nspname"
)

# -- tables

COLUMNS = (
    "select a.attname from pg_attribute a where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped "
    "order by a.attnum"
)

TABLES = (
    "select c.relname, "
    "array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped "
    "order by a.attnum), "
    "array(select a.attname::text from pg_index i cross join unnest(i.indkey) with ordinality as k (attnum, n) "
    "join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum "
    "where i.indrelid = c.oid and i.indisprimary order by k.n) "
    "from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where n.nspname = %s and c.relkind = 'r' order by c.relname"
)
"""The tables of a schema, with their columns and the columns of their primary keys, each in order."""


def forget(table: Table, schema: str, kind: LiteralString) -> Composed:
    """The rows of some executions. `kind` is that of the column."""
    return SQL("delete from {} where execution_id = any(%s::text[]::{})").format(
        Identifier(schema, table.name), SQL(_array_type(kind.split()[0]))
    )


def full_name(table: Table, schema: str) -> str:
    return f"{schema}.{table.name}"


def create(table: Table, schema: str) -> Composed:
    columns = SQL(", ").join(SQL("{} {}").format(Identifier(name), SQL(kind)) for name, kind in table.columns.items())
    return SQL("create table if not exists {} ({}, constraint {} primary key ({}))").format(
        Identifier(schema, table.name),
        columns,
        Identifier(f"{table.name}_pkey"),
        SQL(", ").join(map(Identifier, table.key)),
    )


def create_index(table: Table, schema: str, index: str) -> Composed:
    return SQL("create index if not exists {} on {} {}").format(
        Identifier(f"{table.name}_{index}"), Identifier(schema, table.name), SQL(table.indexes[index])
    )


def upsert(table: Table, schema: str) -> Composed:
    """One array parameter for each column. A list of lists cannot be unnested: an array column comes as literals."""
    types: dict[str, LiteralString] = {name: kind.split()[0] for name, kind in table.columns.items()}
    changing = [name for name in table.columns if name not in table.key and name not in table.kept]
    changes = [
        SQL("{0} = old.{0} + excluded.{0}" if name in table.added else "{0} = excluded.{0}").format(Identifier(name))
        for name in changing
    ]
    return SQL("insert into {} as old select {} from unnest({}) as rows ({}) on conflict ({}) do {}").format(
        Identifier(schema, table.name),
        SQL(", ").join(SQL("{}::{}").format(Identifier(name), SQL(kind)) for name, kind in types.items()),
        SQL(", ").join(SQL("%b::{}").format(SQL(_array_type(kind))) for kind in types.values()),
        SQL(", ").join(map(Identifier, types)),
        SQL(", ").join(map(Identifier, table.key)),
        SQL("update set {}").format(SQL(", ").join(changes)) if changes else SQL("nothing"),
    )


def drop(table: Table, schema: str) -> Composed:
    return SQL("drop table if exists {}").format(Identifier(schema, table.name))


def analyze(table: Table, schema: str) -> Composed:
    return SQL("analyze {}").format(Identifier(schema, table.name))


def swap_in(table: Table, schema: str) -> list[Composed]:
    """Put the table of this schema in the place of the live one. Its indexes come with it."""
    return [
        drop(table, LIVE),
        SQL("alter table {} set schema {}").format(Identifier(schema, table.name), Identifier(LIVE)),
    ]


# -- comparing two schemas


def hold(tables: Sequence[tuple[str, str]]) -> Composed:
    """Keep these tables, by schema and name, from being swapped or dropped."""
    return SQL("lock table {} in access share mode").format(SQL(", ").join(Identifier(*table) for table in tables))


def count_differences(table: str, a: str, b: str, key: Sequence[str], columns: Sequence[str]) -> Composed:
    """How many rows are only in schema `a`, only in `b`, and in both but not the same."""
    return SQL(
        "select count(*) filter (where b.{first} is null), count(*) filter (where a.{first} is null), "
        "count(*) filter (where a.{first} is not null and b.{first} is not null) from {joined} where {differs}"
    ).format(first=Identifier(key[0]), joined=_joined(table, a, b, key), differs=_differs(key, columns))


def read_differences(table: str, a: str, b: str, key: Sequence[str], columns: Sequence[str]) -> Composed:
    """The first rows that are not the same, by key: whether `a` and whether `b` has it, and both rows as texts."""
    return SQL(
        "select a.{first} is not null, b.{first} is not null, array[{of_a}], array[{of_b}] from {joined} "
        "where {differs} order by {order} limit %s"
    ).format(
        first=Identifier(key[0]),
        of_a=SQL(", ").join(SQL("a.{}::text").format(Identifier(name)) for name in columns),
        of_b=SQL(", ").join(SQL("b.{}::text").format(Identifier(name)) for name in columns),
        joined=_joined(table, a, b, key),
        differs=_differs(key, columns),
        order=SQL(", ").join(SQL("coalesce(a.{0}, b.{0})").format(Identifier(name)) for name in key),
    )


def _joined(table: str, a: str, b: str, key: Sequence[str]) -> Composed:
    return SQL("{} a full join {} b on {}").format(
        Identifier(a, table),
        Identifier(b, table),
        SQL(" and ").join(SQL("a.{0} = b.{0}").format(Identifier(name)) for name in key),
    )


def _differs(key: Sequence[str], columns: Sequence[str]) -> Composed:
    # As texts: json has no equality, and two texts that differ are two rows that somebody can tell apart.
    rest = [SQL("a.{0}::text is distinct from b.{0}::text").format(Identifier(name)) for name in columns]
    missing = SQL("a.{0} is null or b.{0} is null").format(Identifier(key[0]))
    return SQL(" or ").join([missing, *rest])


def _checkpoints(schema: str) -> Identifier:
    return Identifier(schema, "checkpoints")


def _array_type(kind: LiteralString) -> LiteralString:
    return "text[]" if kind == "json" or kind.endswith("[]") else f"{kind}[]"
