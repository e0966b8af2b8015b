-- Ended executions whose events were moved to files (see archive.py). What stays of each is a tombstone: where its events
-- stood and what they hash to, so that the chains and the digest of the whole log go across, and where they are now.
create table log.tombstones (
    stream_id      text primary key,
    tenant         text not null,
    version        integer not null,
    hash           bytea not null,
    first_position bigint not null,
    last_position  bigint not null,
    positions      bigint[] not null,
    hashes         bytea[] not null,
    file           text not null,
    file_offset    bigint not null,
    file_size      bigint not null,
    archived_at    timestamptz not null default now(),
    constraint tombstones_are_whole check (cardinality(positions) = version and cardinality(hashes) = version)
);
-- Walking the log in the order of positions asks for those that have one in a stretch.
create index tombstones_positions on log.tombstones using gist (int8range(first_position, last_position, '[]'));
create index tombstones_last on log.tombstones (last_position);
grant select on log.tombstones to playhead_service;

-- The head stays, so that nothing can be added under that name.
alter table log.heads add column archived boolean not null default false;

create or replace function log.refuse_change() returns trigger language plpgsql as $$
begin
    -- Only what a tombstone stands for, which log.archive has compared with it, may leave the log.
    if tg_op = 'DELETE' and tg_table_name = 'events' then
        if exists (select from log.tombstones where stream_id = old.stream_id) then
            return old;
        end if;
    end if;
    raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'insufficient_privilege';
end
$$;
create trigger tombstones_are_immutable before update or delete on log.tombstones
    for each row execute function log.refuse_change();
create trigger tombstones_are_not_truncated before truncate on log.tombstones
    for each statement execute function log.refuse_change();

-- Move the events of ended executions out of the log: all of them, or none if one is not what the file holds. For the
-- owner alone; the file was written, and read back, before. Those that were moved to this file before are left as they
-- are. Gives how many were moved now.
create function log.archive(
    s_id text[], s_version integer[], s_hash bytea[], s_file text, s_offset bigint[], s_size bigint[]
) returns integer language plpgsql set search_path = log, pg_temp as $$
declare
    todo text[];
    moved integer;
begin
    -- Whoever appends to one of these waits here, and is refused then.
    perform 1 from log.heads where stream_id = any(s_id) order by stream_id for update;
    select coalesce(array_agg(w.id), '{}') into todo from unnest(s_id) as w (id)
    where not exists (select from log.tombstones t where t.stream_id = w.id and t.file = s_file);

    insert into log.tombstones
        (stream_id, tenant, version, hash, first_position, last_position, positions, hashes, file, file_offset, file_size)
    select w.id, min(e.tenant), w.version, w.hash, min(e.position), max(e.position),
        array_agg(e.position order by e.version), array_agg(e.hash order by e.version), s_file, w.start, w.size
    from unnest(s_id, s_version, s_hash, s_offset, s_size) as w (id, version, hash, start, size)
    join log.heads h on h.stream_id = w.id and h.version = w.version and h.hash = w.hash and not h.archived
    join log.events e on e.stream_id = w.id
    where w.id = any(todo) and starts_with(w.id, 'execution:')
    group by w.id, w.version, w.hash, w.start, w.size
    having count(*) = w.version
        and (array_agg(e.hash order by e.version))[w.version] = w.hash
        and (array_agg(e.type order by e.version))[w.version] in
            ('execution.completed', 'execution.failed', 'execution.cancelled', 'execution.timed_out');
    get diagnostics moved = row_count;
    if moved <> cardinality(todo) then
        raise exception 'of % executions, % are ended and what the file % holds', cardinality(todo), moved, s_file
            using errcode = 'check_violation';
    end if;

    delete from log.events where stream_id = any(todo);
    delete from log.snapshots where stream_id = any(todo);
    update log.heads set archived = true where stream_id = any(todo);
    return moved;
end
$$;
revoke all on function log.archive from public;

-- As it was, but that a head of the archive is never moved.
create or replace function log.append(
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
            and not h.archived
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
