"""Every SQL statement of the log, by name."""

APPEND = (
    "select log.append(%b::text[], %b::int4[], %b::bytea[], %b::int4[], %b::bytea[], %b::int4[], %b::int4[], "
    "%b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::text[], %b::text[], %b::bytea[], %b::bytea[])"
)

_COLUMNS = "position, stream_id, version, type, data, meta, prev_hash, hash"

READ_STREAM = f"select {_COLUMNS} from log.events where stream_id = %s and version > %s order by version limit %s"

READ_STREAMS = (
    "select e.position, e.stream_id, e.version, e.type, e.data, e.meta, e.prev_hash, e.hash "
    "from unnest(%s::text[], %s::int4[]) as w (stream_id, version) "
    "join log.events e on e.stream_id = w.stream_id and e.version <= w.version order by e.stream_id, e.version"
)

READ_EVENTS = (
    "select e.stream_id, e.version, e.data from unnest(%s::text[], %s::int4[]) as w (stream_id, version) "
    "join log.events e on e.stream_id = w.stream_id and e.version = w.version"
)

READ_LOG = f"select {_COLUMNS} from log.events where position > %s order by position limit %s"

LAST_POSITION = "select coalesce(max(position), 0) from log.events"

HEAD = "select version from log.heads where stream_id = %s"

HEADS = "select stream_id, version, hash from log.heads where %s::text is null or stream_id = %s order by stream_id"
