"""Every SQL statement of the gateway, by name. JSON columns are read as text, to be passed on as they are."""

FIND_KEY = "select tenant, name, scopes from access.keys where hash = %s and revoked_at is null"

ADD_KEY = (
    "insert into access.keys (key_id, tenant, name, hash, scopes) values (%s, %s, %s, %s, %s) returning created_at"
)

LIST_KEYS = (
    "select key_id::text, tenant, name, scopes, created_at, revoked_at from access.keys "
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

_PAUSE = (
    "select pause_id::text, execution_id::text, workflow_id, path, status, message, form::text, show::text, "
    "assignees, digest, requested_at, expires_at, answer::text, resolved_by::text, resolved_at, reason "
    "from read.pauses where tenant = %(tenant)s "
)

LIST_PAUSES = (
    _PAUSE + "and (%(workflow)s::text is null or workflow_id = %(workflow)s) "
    "and (%(status)s::text is null or status = %(status)s) "
    "and (%(assignee)s::text is null or %(assignee)s = any (assignees)) "
    "and (%(before)s::timestamptz is null or requested_at < %(before)s "
    "or requested_at = %(before)s and pause_id > %(before_id)s::uuid) "
    "order by requested_at desc, pause_id limit %(limit)s"
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
