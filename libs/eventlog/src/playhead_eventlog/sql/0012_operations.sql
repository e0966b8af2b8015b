-- Who did what: the facts of people among all others, newest first (GET /v1/audit). An index of these few types alone, so
-- that appending the others costs nothing more. The types stand in queries.py, too.
create index operations_of_tenants on log.events (tenant, position)
    where type in (
        'workflow.published', 'trigger.published', 'trigger.removed',
        'execution.created', 'execution.cancel_requested', 'execution.archived',
        'pause.resolved', 'pause.voted', 'pause.delegated', 'pause.extended',
        'key.created', 'key.revoked', 'webhook.created', 'webhook.changed', 'log.exported', 'subject.forgotten'
    );

-- How far signed checkpoints have come (see checkpoints.py), for each folder of them, known by its first line. It proves
-- nothing, but tells when a folder was rolled back by somebody who does not rule the database.
create table log.signed (
    chain     text primary key,
    position  bigint not null,
    signed_at timestamptz not null
);
grant select, insert, update on log.signed to playhead_service;
