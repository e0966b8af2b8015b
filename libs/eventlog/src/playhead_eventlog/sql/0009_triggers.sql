-- Triggers: what is published, how far the log has been looked at, and what is to be started. All of it follows from the
-- log and can be made anew: a firing that is sent twice is one execution, for its idempotency key follows from the event.
create schema triggering;
grant usage on schema triggering to playhead_service;

-- `removed_at` keeps what had been counted. `last_error` is why the last event that failed did.
create table triggering.triggers (
    tenant        text not null,
    trigger_id    text not null,
    version       integer not null,
    digest        text not null,
    document      text not null,
    published_at  timestamptz not null,
    position      bigint not null,
    removed_at    timestamptz,
    matched       bigint not null default 0,
    started       bigint not null default 0,
    refused       bigint not null default 0,
    failed        bigint not null default 0,
    repeated      bigint not null default 0,
    last_position bigint,
    last_error    text,
    primary key (tenant, trigger_id)
);

-- One event for one trigger. `key` is what it is known by: a second event of the same key starts nothing. `message` is
-- what is to be sent, a command or a dead letter; it is taken out when that is done, for it may be about people.
create table triggering.firings (
    tenant       text not null,
    trigger_id   text not null,
    key          text not null,
    event_id     text not null,
    position     bigint not null,
    depth        integer not null,
    status       text not null check (status in ('due', 'started', 'refused', 'failed')),
    message      text,
    tries        integer not null default 0,
    next_at      timestamptz,
    execution_id uuid,
    error        text,
    created_at   timestamptz not null default now(),
    settled_at   timestamptz,
    primary key (tenant, trigger_id, key)
);
create index firings_due on triggering.firings (next_at) where next_at is not null;
create index firings_settled on triggering.firings (settled_at) where settled_at is not null;

create table triggering.checkpoints (
    name     text primary key,
    position bigint not null
);

grant select, insert, update, delete
    on triggering.triggers, triggering.firings, triggering.checkpoints to playhead_service;
