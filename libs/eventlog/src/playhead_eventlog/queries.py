"""Every SQL statement of the log, by name."""

APPEND = (
    "select log.append(%b::text[], %b::int4[], %b::bytea[], %b::int4[], %b::bytea[], %b::int4[], %b::int4[], "
    "%b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[], %b::text[], %b::bytea[], %b::bytea[])"
)

APPEND_WITH_BLOBS = (
    "select log.append_with_blobs(%b::text[], %b::text[], %b::bytea[], "
    "%b::text[], %b::int4[], %b::bytea[], %b::int4[], %b::bytea[], %b::int4[], %b::int4[], "
    "%b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[], %b::text[], %b::bytea[], %b::bytea[])"
)

_COLUMNS = "position, stream_id, version, type, data, meta, prev_hash, hash"

READ_STREAM = f"select {_COLUMNS} from log.events where stream_id = %s and version > %s order by version limit %s"

SINCE_SNAPSHOT = (
    f"select {_COLUMNS} from log.events where stream_id = %s and version > coalesce("
    "(select max(version) from log.snapshots where stream_id = %s and version <= %s), 0) "
    "and version <= %s order by version limit %s"
)

NEWEST_SNAPSHOT = (
    "select s.version, s.hash, s.code, s.checksum, s.state, e.hash from log.snapshots s "
    "left join log.events e on e.stream_id = s.stream_id and e.version = s.version "
    "where s.stream_id = %s and s.version <= %s order by s.version desc limit 1"
)

SNAPSHOT_VERSIONS = "select version from log.snapshots where stream_id = %s"

SAVE_SNAPSHOT = (
    "with gone as (delete from log.snapshots where stream_id = %s and version = any(%s::int4[])) "
    "insert into log.snapshots (stream_id, version, hash, code, checksum, state) values (%s, %s, %s, %s, %s, %s) "
    "on conflict (stream_id, version) do nothing returning version"
)

DELETE_SNAPSHOT = (
    "delete from log.snapshots where stream_id = %s and version = %s and checksum = %s and code = %s returning version"
)

VERSION_AT = (
    "select coalesce("
    "(select version - 1 from log.events where stream_id = %s and recorded_at > %s order by version limit 1), "
    "(select version from log.heads where stream_id = %s), 0)"
)

READ_NEWEST = f"select {_COLUMNS} from log.events where stream_id = %s order by version desc limit 1"

READ_STREAMS = (
    "select e.position, e.stream_id, e.version, e.type, e.data, e.meta, e.prev_hash, e.hash "
    "from unnest(%s::text[], %s::int4[]) as w (stream_id, version) "
    "join log.events e on e.stream_id = w.stream_id and e.version <= w.version order by e.stream_id, e.version"
)

READ_EVENTS = (
    "select e.stream_id, e.version, e.tenant, e.data from unnest(%s::text[], %s::int4[]) as w (stream_id, version) "
    "join log.events e on e.stream_id = w.stream_id and e.version = w.version"
)

READ_BLOBS = (
    "select b.tenant, b.digest, b.content from unnest(%s::text[], %s::text[]) as w (tenant, digest) "
    "join log.blobs b on b.tenant = w.tenant and b.digest = w.digest"
)

READ_LOG = f"select {_COLUMNS} from log.events where position > %s order by position limit %s"

INDEXED_TYPES = frozenset(
    {
        "event.received",
        "event.published",
        "execution.completed",
        "execution.failed",
        "execution.cancelled",
        "execution.timed_out",
    }
)
"""The types that `events_of_tenants` is an index of. An index serves only a query that says its very condition."""

_IS_INDEXED = ", ".join(f"'{name}'" for name in sorted(INDEXED_TYPES))

FIND_INDEXED = (
    f"select {_COLUMNS} from unnest(%s::text[]) as w (wanted) cross join lateral ("
    f"select {_COLUMNS} from log.events where tenant = %s and type = wanted and type in ({_IS_INDEXED}) "
    "and position > %s and position <= %s order by position limit %s) as e order by position limit %s"
)

FIND = (
    f"select {_COLUMNS} from log.events where type = any(%s) and tenant = %s "
    "and position > %s and position <= %s order by position limit %s"
)

# Through the index of positions, a stretch at a time: an index by tenant would cost every append.
READ_TENANT = (
    f"select {_COLUMNS} from log.events where tenant = %s and position > %s and position <= %s "
    "and (%s::text[] is null or type like any(%s::text[])) order by position limit %s"
)

RECORDED = "select event_id::text from log.events where event_id = any(%s::text[]::uuid[])"

LAST_POSITION = "select coalesce(max(position), 0) from log.events"

POSITION_AT = "select position from log.events where recorded_at <= %s order by position desc limit 1"
"""Backwards from the end: what people ask for is mostly recent, and an index of times would cost every append."""

HEAD = "select version from log.heads where stream_id = %s"

HEADS = "select stream_id, version, hash from log.heads where %s::text is null or stream_id = %s order by stream_id"
