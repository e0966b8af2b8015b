-- Read models belong to the services: projections make, rebuild and swap their own tables here.
create schema read;
grant usage, create on schema read to playhead_service;

create schema access;
grant usage on schema access to playhead_service;

-- API keys, by the sha256 of the key; the key itself is shown once, when it is made.
create table access.keys (
    key_id     uuid primary key,
    tenant     text not null,
    name       text not null,
    hash       bytea not null unique,
    scopes     text[] not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
grant select, insert on access.keys to playhead_service;
grant update (revoked_at) on access.keys to playhead_service;
