"""Every SQL statement of hitl, by name."""

TRY_LOCK = "select pg_try_advisory_lock(%s)"

LISTEN = "listen playhead_webhooks"
"""The gateway, too, tells this channel of new deliveries."""

RING = "select pg_notify('playhead_webhooks', '')"

READ_POSITION = "select position from notifying.checkpoints where name = %s"

WRITE_POSITION = (
    "insert into notifying.checkpoints (name, position) values (%s, %s) "
    "on conflict (name) do update set position = excluded.position"
)

WEBHOOKS_OF = (
    "select tenant, webhook_id::text, name, events, workflows, since_position, disabled_at is not null "
    "from notifying.webhooks where tenant = any(%s) order by tenant, name for key share"
)
"""They stay until the deliveries are made that name them."""

ADD_DELIVERY = (
    "insert into notifying.deliveries (delivery_id, tenant, webhook, webhook_id, event_type, event_position, "
    "execution_id, pause_id, path, page_for, body, status, next_attempt_at) "
    "values (%(delivery_id)s, %(tenant)s, %(webhook)s, %(webhook_id)s, %(event_type)s, %(event_position)s, "
    "%(execution_id)s, %(pause_id)s, %(path)s, %(page_for)s, %(body)s, 'pending', now()) "
    "on conflict (delivery_id) do nothing"
)

_OUTCOME = (
    "insert into notifying.outcomes "
    "(delivery_id, round, tenant, execution_id, pause_id, path, webhook, about, outcome, attempts, status, error) "
    "select delivery_id, round, tenant, execution_id, pause_id, path, webhook, event_type, status, attempts, "
    "last_status, last_error from ended where pause_id is not null on conflict do nothing"
)

ADD_FAILED_DELIVERY = (
    "with ended as (insert into notifying.deliveries (delivery_id, tenant, webhook, event_type, event_position, "
    "execution_id, pause_id, path, page_for, body, status, last_error, ended_at) "
    "values (%(delivery_id)s, %(tenant)s, %(webhook)s, %(event_type)s, %(event_position)s, "
    "%(execution_id)s, %(pause_id)s, %(path)s, %(page_for)s, %(body)s, 'failed', %(error)s, now()) "
    "on conflict (delivery_id) do nothing returning *) " + _OUTCOME
)

STOP_ASKING = (
    "update notifying.deliveries set stopped = %(reason)s, "
    "next_attempt_at = case when tries > 0 then least(next_attempt_at, now()) else next_attempt_at end "
    "where pause_id = %(pause_id)s and status = 'pending' and event_type = any(%(asking)s) and stopped is null"
)
"""What was tried before need not wait any longer to be given up; what was not is still sent, once."""

FORGET_OLD = "delete from notifying.deliveries where ended_at < now() - %s"

_IS_DUE = "d.status = 'pending' and d.next_attempt_at <= now() and (d.claimed_until is null or d.claimed_until < now())"

CLAIM = f"""
with due as (
    select delivery_id from (
        (select d.delivery_id, d.next_attempt_at
        from (select webhook_id from notifying.webhooks where webhook_id <> all(%(busy)s::uuid[])) w
        cross join lateral (
            select delivery_id, next_attempt_at from notifying.deliveries d
            where d.webhook_id = w.webhook_id and {_IS_DUE} order by next_attempt_at limit %(each)s
        ) d)
        union all
        (select delivery_id, next_attempt_at from notifying.deliveries d
        where d.webhook_id is null and {_IS_DUE} order by next_attempt_at limit %(each)s)
    ) found order by next_attempt_at limit %(room)s
), locked as (
    select d.delivery_id, d.webhook_id from notifying.deliveries d join due using (delivery_id)
    where {_IS_DUE} for update of d skip locked
), meant as (
    select l.delivery_id, w.url, w.secret, w.disabled_at is not null as is_disabled, w.disabled_reason,
        case when w.old_secret_until > now() then w.old_secret end as old_secret
    from locked l left join notifying.webhooks w using (webhook_id)
)
update notifying.deliveries d set claims = d.claims + 1, claimed_until = now() + %(lease)s
from meant m where d.delivery_id = m.delivery_id
returning d.delivery_id::text, d.claims, d.webhook, d.webhook_id::text, m.url, m.secret, m.old_secret, m.is_disabled,
    m.disabled_reason, d.tenant, d.execution_id::text, d.pause_id::text, d.event_type, d.page_for, d.body, d.tries,
    d.stopped
"""
"""Some of each webhook: one that does not answer must not keep the others waiting."""

_TRIED = (
    "claimed_until = null, attempt_log = attempt_log || %(attempt)s::jsonb, "
    "attempts = attempts + jsonb_array_length(%(attempt)s::jsonb), "
    "tries = tries + jsonb_array_length(%(attempt)s::jsonb), "
    "last_status = coalesce(%(status)s, last_status), last_error = %(error)s "
)
_IS_OURS = "where delivery_id = %(delivery_id)s and claims = %(claims)s and status = 'pending'"

TRY_LATER = (
    f"update notifying.deliveries set {_TRIED}, "
    "next_attempt_at = case when stopped is null then now() + %(retry_in)s else now() end "
    f"{_IS_OURS}"
)

END = (
    "with ended as (update notifying.deliveries set status = %(outcome)s, ended_at = now(), next_attempt_at = null, "
    f"{_TRIED} {_IS_OURS} returning *) {_OUTCOME}"
)

DISABLE = (
    "update notifying.webhooks set disabled_at = now(), disabled_reason = %s "
    "where webhook_id = %s and disabled_at is null"
)

OUTCOMES = (
    "select delivery_id::text, round, tenant, execution_id::text, pause_id::text, path, webhook, about, outcome, "
    "attempts, status, error from notifying.outcomes order by delivery_id limit %s for update skip locked"
)

FORGET_OUTCOME = "delete from notifying.outcomes where delivery_id = %s and round = %s"
