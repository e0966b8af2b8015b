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
    "(select h.version from log.heads h where h.stream_id = w.id), 0), "
    "coalesce((select h.archived from log.heads h where h.stream_id = w.id), false) from (select %s::text as id) as w"
)

READ_NEWEST = f"select {_COLUMNS} from log.events where stream_id = %s order by version desc limit 1"

READ_STREAMS = (
    "select e.position, e.stream_id, e.version, e.type, e.data, e.meta, e.prev_hash, e.hash "
    "from unnest(%s::text[], %s::int4[]) as w (stream_id, version) "
    "join log.events e on e.stream_id = w.stream_id and e.version <= w.version order by e.stream_id, e.version"
)

READ_EVENTS = (
    "select e.stream_id, e.version, e.tenant, e.data, e.meta "
    "from unnest(%s::text[], %s::int4[]) as w (stream_id, version) "
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

_SELECTED = (
    "position > %s and position <= %s and (%s::text is null or tenant = %s) "
    "and (%s::text is null or strpos(meta, %s) > 0) "
    "and (%s::timestamptz is null or recorded_at >= %s) and (%s::timestamptz is null or recorded_at < %s)"
)

SELECT = f"select {_COLUMNS} from log.events where {_SELECTED} order by position limit %s"

SELECT_OF_STREAMS = (
    f"select e.* from unnest(%s::text[]) as w (wanted) cross join lateral (select {_COLUMNS} from log.events "
    f"where stream_id = wanted and {_SELECTED} order by version limit %s) as e order by e.position limit %s"
)

SELECT_TRACES = (
    "select e.position, e.stream_id, h.version, n.type from (select position, stream_id from log.events "
    f"where version = 1 and starts_with(stream_id, 'execution:') and {_SELECTED} "
    "and (%s::text[] is null or stream_id = any(%s)) order by position limit %s) as e "
    "join log.heads h on h.stream_id = e.stream_id "
    "join log.events n on n.stream_id = h.stream_id and n.version = h.version order by e.position"
)

SELECT_TENANTS = (
    f"select distinct tenant from log.events where {_SELECTED} and (%s::text[] is null or stream_id = any(%s)) "
    "union select tenant from log.tombstones where stream_id = any(%s)"
)

# From there backwards, through the index of positions.
PREVIOUS_OF_TENANT = (
    "select coalesce((select position from log.events where tenant = %s and position < %s "
    "order by position desc limit 1), 0)"
)

OPERATIONS = frozenset(
    {
        "workflow.published",
        "trigger.published",
        "trigger.removed",
        "execution.created",
        "execution.cancel_requested",
        "execution.archived",
        "pause.resolved",
        "pause.voted",
        "pause.delegated",
        "pause.extended",
        "key.created",
        "key.revoked",
        "webhook.created",
        "webhook.changed",
        "log.exported",
        "subject.forgotten",
    }
)
"""The types of what people do. `operations_of_tenants` is an index of them: one more needs another index."""

_IS_OPERATION = ", ".join(f"'{name}'" for name in sorted(OPERATIONS))

READ_OPERATIONS = (
    f"select {_COLUMNS} from log.events where tenant = %s and type = any(%s) and type in ({_IS_OPERATION}) "
    "and (%s::bigint is null or position < %s) and (%s::timestamptz is null or recorded_at >= %s) "
    "and (%s::timestamptz is null or recorded_at < %s) and (%s::text is null or strpos(meta, %s) > 0) "
    "order by position desc limit %s"
)

_ALL_COLUMNS = f"{_COLUMNS}, event_id::text, tenant, recorded_at"

AUDIT_LOG = f"select {_ALL_COLUMNS} from log.events where position > %s order by position limit %s"

AUDIT_STREAM = (
    f"select {_ALL_COLUMNS} from log.events where stream_id = %s and version > %s order by version, position limit %s"
)

_ARCHIVED_PLACES = (
    "select at, own from log.tombstones t cross join lateral unnest(t.positions, t.hashes) as u (at, own) "
    "where int8range(t.first_position, t.last_position, '[]') && int8range(%s, %s, '(]') and at > %s and at <= %s "
    "order by 1"
)

ARCHIVED_PLACES = _ARCHIVED_PLACES

PLACES = f"select position, hash from log.events where position > %s and position <= %s union all {_ARCHIVED_PLACES}"
"""In a stretch, so that what is sorted stays small: executions go on side by side, and so do their tombstones."""

NEXT_PLACE = (
    "select least((select min(position) from log.events where position > %s), "
    "(select min(at) from log.tombstones t cross join lateral unnest(t.positions) as u (at) "
    "where t.last_position > %s and at > %s))"
)

HEADS_AFTER = (
    "select stream_id, version, hash from log.heads where not archived and stream_id > %s order by stream_id limit %s"
)

TOMBSTONES_AFTER = (
    "select coalesce(t.stream_id, h.stream_id), h.version, h.hash, coalesce(h.archived, false), t.version, t.hash, "
    "t.positions, t.hashes, t.file, t.file_offset, t.file_size, "
    "exists (select from log.events e where e.stream_id = coalesce(t.stream_id, h.stream_id)) "
    "from (select * from log.heads where archived) h full join log.tombstones t on t.stream_id = h.stream_id "
    "where coalesce(t.stream_id, h.stream_id) > %s order by 1 limit %s"
)

SIGNED = "select chain, position from log.signed"

NOTE_SIGNED = (
    "insert into log.signed (chain, position, signed_at) values (%s, %s, %s) "
    "on conflict (chain) do update set position = excluded.position, signed_at = excluded.signed_at returning position"
)

GUARDS = (
    "select 'trigger ' || tgname from pg_trigger where tgenabled in ('O', 'A') "
    "and tgrelid in ('log.events'::regclass, 'log.blobs'::regclass, 'log.tombstones'::regclass) union all "
    "select 'unique index ' || c.relname from pg_index i join pg_class c on c.oid = i.indexrelid "
    "where i.indrelid = 'log.events'::regclass and i.indisunique and i.indisvalid"
)

ARCHIVED_AT = (
    "select 1 from log.tombstones where int8range(first_position, last_position, '[]') @> %s::int8 "
    "and %s::int8 = any(positions)"
)

TOMBSTONES = (
    "select stream_id, version, hash, positions, hashes, file, file_offset, file_size from log.tombstones "
    "where stream_id = any(%s)"
)

RECORDED = "select event_id::text from log.events where event_id = any(%s::text[]::uuid[])"

LAST_POSITION = "select coalesce(max(position), 0) from log.events"

POSITION_AT = "select position from log.events where recorded_at <= %s order by position desc limit 1"
"""Backwards from the end: what people ask for is mostly recent, and an index of times would cost every append."""

HEAD = "select version, archived from log.heads where stream_id = %s"

HEADS = "select stream_id, version, hash from log.heads where %s::text is null or stream_id = %s order by stream_id"

KEY_FOR = "select key_id, key, is_wrapped from vault.key_for(%s, %s, %s::uuid, %s, %s)"

FIND_KEY = "select key_id from vault.subject_keys where tenant = %s and subject = %s"

READ_KEYS = "select key_id, key, is_wrapped from vault.subject_keys where key_id = any(%s::text[]::uuid[])"

FORGET = "select vault.forget(%s, %s, %s::uuid)"

# The first conditions are those of the index `events_personal`, word for word.
EXECUTIONS_OF_KEY = (
    "select stream_id from log.events where type = 'execution.created' and data like '%%\"personal\":{%%' "
    "and tenant = %s and data like %s order by position"
)
