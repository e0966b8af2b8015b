"""Every SQL statement of triggers, by name."""

TRY_LOCK = "select pg_try_advisory_lock(%s)"

READ_POSITION = "select position from triggering.checkpoints where name = 'triggers'"

WRITE_POSITION = (
    "insert into triggering.checkpoints (name, position) values ('triggers', %s) "
    "on conflict (name) do update set position = excluded.position"
)

READ_TRIGGERS = "select tenant, trigger_id, document from triggering.triggers where removed_at is null"

WRITE_TRIGGER = (
    "insert into triggering.triggers (tenant, trigger_id, version, digest, document, published_at, position) "
    "values (%s, %s, %s, %s, %s, %s, %s) on conflict (tenant, trigger_id) do update set version = excluded.version, "
    "digest = excluded.digest, document = excluded.document, published_at = excluded.published_at, "
    "position = excluded.position, removed_at = null"
)

REMOVE_TRIGGER = "update triggering.triggers set removed_at = %s where tenant = %s and trigger_id = %s"

ADD_FIRINGS = (
    "insert into triggering.firings "
    "(tenant, trigger_id, key, event_id, position, depth, status, message, error, next_at) "
    "select *, now() from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::int[], %s::text[], "
    "%s::text[], %s::text[]) on conflict do nothing returning tenant, trigger_id, key"
)

COUNT_MATCHES = (
    "update triggering.triggers t set matched = t.matched + n.matched, failed = t.failed + n.failed, "
    "repeated = t.repeated + n.repeated, last_position = greatest(t.last_position, n.position), "
    "last_error = coalesce(n.error, t.last_error) "
    "from unnest(%s::text[], %s::text[], %s::int[], %s::int[], %s::int[], %s::bigint[], %s::text[]) "
    "as n (tenant, trigger_id, matched, failed, repeated, position, error) "
    "where t.tenant = n.tenant and t.trigger_id = n.trigger_id"
)

DUE = (
    "select tenant, trigger_id, key, status, message, error, tries from triggering.firings "
    "where next_at <= now() order by position limit %s"
)

SENT = (
    "update triggering.firings f set tries = tries + 1, "
    "next_at = now() + make_interval(secs => least(%s * power(2, least(f.tries, 10)), %s)) "
    "from unnest(%s::text[], %s::text[], %s::text[]) as s (tenant, trigger_id, key) "
    "where f.tenant = s.tenant and f.trigger_id = s.trigger_id and f.key = s.key and f.next_at is not null"
)

TOLD = (
    "update triggering.firings f set next_at = null, message = null, settled_at = now() "
    "from unnest(%s::text[], %s::text[], %s::text[]) as s (tenant, trigger_id, key) "
    "where f.tenant = s.tenant and f.trigger_id = s.trigger_id and f.key = s.key"
)

SETTLE = (
    "with s as (select * from unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::uuid[], %s::text[]) "
    "as s (tenant, trigger_id, key, status, execution_id, error)), settled as ("
    "update triggering.firings f set status = s.status, execution_id = s.execution_id, error = s.error, "
    "next_at = null, message = null, settled_at = now() from s "
    "where f.tenant = s.tenant and f.trigger_id = s.trigger_id and f.key = s.key and f.status = 'due' "
    "returning f.tenant, f.trigger_id, f.status, f.error), counted as ("
    "select tenant, trigger_id, count(*) filter (where status = 'started') as started, "
    "count(*) filter (where status = 'refused') as refused, max(error) as error from settled group by 1, 2) "
    "update triggering.triggers t set started = t.started + c.started, refused = t.refused + c.refused, "
    "last_error = coalesce(c.error, t.last_error) from counted c "
    "where t.tenant = c.tenant and t.trigger_id = c.trigger_id"
)

PRUNE = "delete from triggering.firings where settled_at < now() - make_interval(days => %s)"
