"""Every SQL statement of the gateway, by name. JSON columns are read as text, to be passed on as they are."""

FIND_KEY = "select tenant, name, scopes, groups from access.keys where hash = %s and revoked_at is null"

ADD_KEY = (
    "insert into access.keys (key_id, tenant, name, hash, scopes, groups) values (%s, %s, %s, %s, %s, %s) "
    "returning created_at"
)

LIST_KEYS = (
    "select key_id::text, tenant, name, scopes, groups, created_at, revoked_at from access.keys "
    "where tenant = %s order by created_at, key_id"
)

REVOKE_KEY = (
    "update access.keys set revoked_at = coalesce(revoked_at, now()) where tenant = %s and key_id = %s returning key_id"
)

LIST_WORKFLOWS = (
    "select distinct on (workflow_id) workflow_id, version, digest, published_at, name, block_count "
    "from read.workflows where tenant = %(tenant)s and workflow_id > %(after)s "
    "order by workflow_id, version desc limit %(limit)s"
)

_TRIGGERS = (
    "select trigger_id, version, digest, document, published_at, removed_at, matched, started, refused, failed, "
    "repeated, last_position, last_error, (select count(*) from triggering.firings f where f.tenant = t.tenant "
    "and f.trigger_id = t.trigger_id and f.status = 'due') from triggering.triggers t where tenant = %(tenant)s "
)

LIST_TRIGGERS = _TRIGGERS + "and removed_at is null and trigger_id > %(after)s order by trigger_id limit %(limit)s"

TRIGGERS_CHECKPOINT = "select position from triggering.checkpoints where name = 'triggers'"

FIND_TRIGGER = _TRIGGERS + "and trigger_id = %(trigger_id)s"

LIST_EXECUTIONS = (
    "select execution_id::text, workflow_id, workflow_version, status, mode, version, created_at, started_at, "
    "ended_at, updated_at, error::text, http_status, source_execution_id::text, source_version, blocks_run, "
    "blocks_reused, blocks_skipped, blocks_failed, open_pauses, due_at, parent_execution_id::text "
    "from read.executions where tenant = %(tenant)s "
    "and (%(workflow)s::text is null or workflow_id = %(workflow)s) "
    "and (%(status)s::text is null or status = %(status)s) "
    "and (%(parent)s::uuid is null or parent_execution_id = %(parent)s::uuid) "
    "and (%(since)s::timestamptz is null or created_at >= %(since)s) "
    "and (%(until)s::timestamptz is null or created_at < %(until)s) "
    "and (%(before)s::timestamptz is null or created_at < %(before)s "
    "or created_at = %(before)s and execution_id > %(before_id)s::uuid) "
    "order by created_at desc, execution_id limit %(limit)s"
)

LINEAGE = (
    "with recursive above as ("
    "select execution_id, source_execution_id, 0 as depth from read.executions "
    "where tenant = %(tenant)s and execution_id = %(execution_id)s::uuid "
    "union all select e.execution_id, e.source_execution_id, a.depth + 1 from above a "
    "join read.executions e on e.execution_id = a.source_execution_id and e.tenant = %(tenant)s), "
    "tree as ("
    "(select execution_id, 0 as depth from above order by above.depth desc limit 1) "
    "union all select e.execution_id, t.depth + 1 from tree t "
    "join read.executions e on e.source_execution_id = t.execution_id and e.tenant = %(tenant)s) "
    "select e.execution_id::text, e.workflow_id, e.workflow_version, e.status, e.created_at, "
    "e.source_execution_id::text, e.source_version, e.source_block, e.parent_execution_id::text, array("
    "select c.execution_id::text from read.executions c where c.parent_execution_id = e.execution_id "
    "order by c.created_at, c.execution_id limit %(children)s) "
    "from tree t join read.executions e on e.execution_id = t.execution_id "
    "order by not exists (select from above a where a.execution_id = e.execution_id), t.depth, e.created_at, "
    "e.execution_id limit %(limit)s"
)
"""From any execution up to the first that was no fork, and everything below that. The root is first, then the others
above it, then all others by depth: whatever the limit leaves out, nothing hangs in the air."""

_PAUSE = (
    "select pause_id::text, execution_id::text, workflow_id, path, status, message, form::text, show::text, "
    "actions::text, asked, votes, votes_needed, escalations, digest, requested_at, expires_at, answer::text, action, "
    "comment, resolved_by::text, resolved_at, reason "
    "from read.pauses where tenant = %(tenant)s "
)

_PAUSES_WANTED = (
    "and (%(workflow)s::text is null or workflow_id = %(workflow)s) "
    "and (%(execution)s::uuid is null or execution_id = %(execution)s::uuid) "
    "and (%(assignee)s::text is null or asked && array[%(assignee)s, 'user:' || %(assignee)s]) "
    "and (%(names)s::text[] is null or asked = '{}' or asked && %(names)s::text[]) "
    "and (%(due_before)s::timestamptz is null or expires_at < %(due_before)s) "
)

LIST_PAUSES = (
    _PAUSE + _PAUSES_WANTED + "and (%(status)s::text is null or status = %(status)s) "
    "and (%(before)s::timestamptz is null or requested_at < %(before)s "
    "or requested_at = %(before)s and pause_id > %(before_id)s::uuid) "
    "order by requested_at desc, pause_id limit %(limit)s"
)

COUNT_PAUSES = (
    "select status, count(*), count(*) filter (where expires_at < now() + interval '1 day'), min(expires_at) "
    "from read.pauses where tenant = %(tenant)s " + _PAUSES_WANTED + "group by status"
)

FIND_PAUSE = _PAUSE + "and pause_id = %(pause_id)s::uuid"

LIST_INSTANCES = (
    "select path, status, attempt, inputs::text, outputs::text, decision, error::text, reason, started_at, ended_at, "
    "duration_ms, waits_until, pause_id::text, child_execution_id::text, reused_from_execution::text, "
    "reused_from_version, version, ordinal "
    "from read.block_states where tenant = %(tenant)s and execution_id = %(execution_id)s::uuid "
    "and ordinal > %(after)s::int8 "
    "and (%(under)s::text is null or starts_with(path, %(under)s || '[') or starts_with(path, %(under)s || '/')) "
    "order by ordinal limit %(limit)s"
)

CHECKPOINT = "select position from read.checkpoints where projection = %s"

RING_FOR_WEBHOOKS = "select pg_notify('playhead_webhooks', '')"
"""Wakes those who send."""

_WEBHOOK = "name, url, events, workflows, created_at, disabled_at, disabled_reason, old_secret_until"

ADD_WEBHOOK = (
    "insert into notifying.webhooks (webhook_id, tenant, name, url, secret, events, workflows, since_position) "
    "select %(webhook_id)s::uuid, %(tenant)s, %(name)s, %(url)s, %(secret)s, %(events)s::text[], "
    "%(workflows)s::text[], (select coalesce(max(position), 0) from log.events) "
    "where (select count(*) from notifying.webhooks where tenant = %(tenant)s) < %(most)s "
    f"on conflict (tenant, name) do nothing returning {_WEBHOOK}"
)

LIST_WEBHOOKS = f"select {_WEBHOOK} from notifying.webhooks where tenant = %(tenant)s order by name"

FIND_WEBHOOK = f"select {_WEBHOOK} from notifying.webhooks where tenant = %(tenant)s and name = %(name)s"

DELETE_WEBHOOK = "delete from notifying.webhooks where tenant = %(tenant)s and name = %(name)s returning name"

ROTATE_WEBHOOK = (
    "update notifying.webhooks set old_secret = secret, old_secret_until = now() + %(overlap)s, secret = %(secret)s "
    f"where tenant = %(tenant)s and name = %(name)s returning {_WEBHOOK}"
)

ENABLE_WEBHOOK = (
    "update notifying.webhooks set disabled_at = null, disabled_reason = null "
    f"where tenant = %(tenant)s and name = %(name)s returning {_WEBHOOK}"
)

_DELIVERY = (
    "delivery_id::text, webhook, event_type, status, execution_id::text, pause_id::text, attempt_log::text, "
    "last_status, last_error, next_attempt_at, created_at, ended_at"
)

ADD_DELIVERY = (
    "insert into notifying.deliveries "
    "(delivery_id, tenant, webhook, webhook_id, event_type, body, status, next_attempt_at) "
    "select %(delivery_id)s::uuid, tenant, name, webhook_id, %(event_type)s, %(body)s, 'pending', now() "
    f"from notifying.webhooks where tenant = %(tenant)s and name = %(name)s returning {_DELIVERY}"
)

LIST_DELIVERIES = (
    f"select {_DELIVERY} from notifying.deliveries where tenant = %(tenant)s "
    "and (%(webhook)s::text is null or webhook = %(webhook)s) "
    "and (%(pause)s::uuid is null or pause_id = %(pause)s::uuid) "
    "and (%(status)s::text is null or status = %(status)s) "
    "and (%(before)s::timestamptz is null or created_at < %(before)s "
    "or created_at = %(before)s and delivery_id > %(before_id)s::uuid) "
    "order by created_at desc, delivery_id limit %(limit)s"
)

WEBHOOK_OF_DELIVERY = (
    "select d.webhook, w.webhook_id is not null, w.disabled_at is not null from notifying.deliveries d "
    "left join notifying.webhooks w on w.tenant = d.tenant and w.name = d.webhook "
    "where d.tenant = %(tenant)s and d.delivery_id = %(delivery_id)s::uuid"
)

RESEND_DELIVERY = (
    "update notifying.deliveries d set webhook_id = w.webhook_id, status = 'pending', stopped = null, "
    "next_attempt_at = now(), ended_at = null, round = round + (status <> 'pending')::int, "
    "tries = case when status = 'pending' then tries else 0 end "
    "from notifying.webhooks w where w.tenant = d.tenant and w.name = d.webhook "
    "and d.tenant = %(tenant)s and d.delivery_id = %(delivery_id)s::uuid "
    "returning d." + _DELIVERY.replace(", ", ", d.")
)
"""One that still waits for its next try is tried now; one that has ended begins anew, with as many tries as before."""
