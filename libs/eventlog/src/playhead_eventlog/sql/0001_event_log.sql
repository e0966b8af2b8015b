-- The group role of the services. Logins are made members of it; the log's owner stays apart.
do $$
begin
    if not exists (select from pg_roles where rolname = 'playhead_service') then
        create role playhead_service nologin;
    end if;
exception when duplicate_object or unique_violation then
    -- Roles belong to the whole cluster: another database was migrated at the same moment.
    null;
end
$$;

create schema log;

create table log.events (
    position    bigint generated always as identity (cache 1) not null,
    stream_id   text not null,
    version     integer not null,
    event_id    uuid not null,
    type        text not null,
    tenant      text not null,
    recorded_at timestamptz not null,
    data        text not null,
    meta        text not null,
    prev_hash   bytea not null,
    hash        bytea not null,
    primary key (stream_id, version)
);
create unique index events_position on log.events (position);
create unique index events_event_id on log.events (event_id);

-- The newest version of each stream with its hash. It holds nothing that log.events does not: it is what an append
-- compares and swaps. Its fill factor leaves room for updates in place.
create table log.heads (
    stream_id text primary key,
    version   integer not null,
    hash      bytea not null
) with (fillfactor = 50);

create function log.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'log.events is append-only' using errcode = 'insufficient_privilege';
end
$$;
create trigger events_are_immutable before update or delete on log.events
    for each row execute function log.refuse_change();
create trigger events_are_not_truncated before truncate on log.events
    for each statement execute function log.refuse_change();

-- Appends to many streams at once, each all or nothing: arrays s_* hold one entry a stream (each stream once),
-- e_* one entry an event, in order. Returns the 1-based indexes of the streams whose expected head did not hold.
--
-- The lock comes before any position is drawn and is held until the commit is durable, so position order is commit
-- order and a reader of "position > checkpoint" never skips an event. Each statement in here takes its own snapshot,
-- so what is compared is what the last holder of the lock committed.
create function log.append(
    s_id text[], s_expected integer[], s_expected_hash bytea[], s_version integer[], s_hash bytea[],
    e_stream integer[], e_version integer[], e_id text[], e_type text[], e_tenant text[], e_recorded_at timestamptz[],
    e_data text[], e_meta text[], e_prev_hash bytea[], e_hash bytea[]
) returns integer[] language plpgsql security definer set search_path = log, pg_temp as $$
declare
    refused integer[];
begin
    perform pg_advisory_xact_lock(5059);
    with wanted as (
        select * from unnest(s_id, s_expected, s_expected_hash, s_version, s_hash) with ordinality
            as w (id, expected, expected_hash, version, hash, n)
    ), created as (
        insert into log.heads (stream_id, version, hash)
        select id, version, hash from wanted where expected = 0
        on conflict (stream_id) do nothing returning stream_id
    ), moved as (
        update log.heads h set version = w.version, hash = w.hash from wanted w
        where w.expected > 0 and h.stream_id = w.id and h.version = w.expected and h.hash = w.expected_hash
        returning h.stream_id
    )
    select coalesce(array_agg(w.n::integer), '{}') into refused from wanted w
    where w.id not in (select stream_id from created union all select stream_id from moved);

    insert into log.events
        (stream_id, version, event_id, type, tenant, recorded_at, data, meta, prev_hash, hash)
    select s_id[e.stream], e.version, e.id::uuid, e.type, e.tenant, e.recorded_at, e.data, e.meta, e.prev_hash, e.hash
    from unnest(e_stream, e_version, e_id, e_type, e_tenant, e_recorded_at, e_data, e_meta, e_prev_hash, e_hash)
        with ordinality as e (stream, version, id, type, tenant, recorded_at, data, meta, prev_hash, hash, n)
    where cardinality(refused) = 0 or e.stream <> all (refused)
    order by e.n;

    perform pg_notify('playhead_log', '');
    return refused;
end
$$;

grant usage on schema log to playhead_service;
grant select on log.events, log.heads to playhead_service;
grant select on public.playhead_migrations to playhead_service;
-- Services may add facts by log.append alone, which keeps the order and the heads right; nobody may change one.
revoke all on function log.append from public;
grant execute on function log.append to playhead_service;
