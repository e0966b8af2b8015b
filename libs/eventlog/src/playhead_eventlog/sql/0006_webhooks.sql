-- Telling people about pauses: who wants to know, what is on its way to them, and what became of it. Deliveries follow
-- from the log and from who wanted to know at that time; what became of them is told to the log (`pause.notified`).
create schema notifying;
grant usage on schema notifying to playhead_service;

-- `events` are types of events. `workflows` are ids, null for all. Events up to `since_position` were before its time.
-- `old_secret` signs, too, until its time is over. Secrets sign what is sent, so they are kept as they are.
create table notifying.webhooks (
    webhook_id       uuid primary key,
    tenant           text not null,
    name             text not null,
    url              text not null,
    secret           text not null,
    old_secret       text,
    old_secret_until timestamptz,
    events           text[] not null,
    workflows        text[],
    since_position   bigint not null,
    created_at       timestamptz not null default now(),
    disabled_at      timestamptz,
    disabled_reason  text,
    unique (tenant, name)
);

-- One event for one webhook. The id is what receivers see, and follows from both. `webhook` is the name that was meant,
-- also when there is none of that name (any more): `webhook_id` is null then.
-- A round begins when it is made, and each time it is sent again by hand: `tries` counts in the round, `attempts` ever.
-- `claims` fences: whoever took it last may say what became of it. `stopped` says why no further try is wanted.
-- `page_for` are the people who get a link to the page of the pause: null none, empty one link for whoever holds it.
create table notifying.deliveries (
    delivery_id     uuid primary key,
    tenant          text not null,
    webhook         text not null,
    webhook_id      uuid references notifying.webhooks on delete set null,
    event_type      text not null,
    event_position  bigint,
    execution_id    uuid,
    pause_id        uuid,
    path            text,
    page_for        text[],
    body            text not null,
    status          text not null check (status in ('pending', 'delivered', 'failed')),
    round           integer not null default 1,
    tries           integer not null default 0,
    attempts        integer not null default 0,
    attempt_log     jsonb not null default '[]',
    claims          integer not null default 0,
    claimed_until   timestamptz,
    next_attempt_at timestamptz,
    stopped         text,
    last_status     integer,
    last_error      text,
    created_at      timestamptz not null default now(),
    ended_at        timestamptz
);
create index deliveries_due on notifying.deliveries (webhook_id, next_attempt_at) where status = 'pending';
create index deliveries_of_pauses on notifying.deliveries (pause_id) where status = 'pending';
create index deliveries_of_tenants on notifying.deliveries (tenant, created_at desc, delivery_id);

-- What became of a round, until the log has been told.
create table notifying.outcomes (
    delivery_id  uuid not null,
    round        integer not null,
    tenant       text not null,
    execution_id uuid not null,
    pause_id     uuid not null,
    path         text not null,
    webhook      text not null,
    about        text not null,
    outcome      text not null,
    attempts     integer not null,
    status       integer,
    error        text,
    primary key (delivery_id, round)
);

-- How far deliveries have been made from the log.
create table notifying.checkpoints (
    name     text primary key,
    position bigint not null
);

grant select, insert, update, delete
    on notifying.webhooks, notifying.deliveries, notifying.outcomes, notifying.checkpoints to playhead_service;
