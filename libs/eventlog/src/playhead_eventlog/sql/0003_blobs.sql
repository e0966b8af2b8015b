-- Large values of events, which the events refer to by digest (see blobs.py). Each is stored once per tenant, for ever.
create table log.blobs (
    tenant     text not null,
    digest     text not null,
    content    bytea not null,
    size_bytes integer not null generated always as (octet_length(content)) stored,
    created_at timestamptz not null default now(),
    primary key (tenant, digest),
    constraint blobs_are_under_their_digest check (digest = 'sha256:' || encode(sha256(content), 'hex'))
);

create or replace function log.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '%.% is append-only', tg_table_schema, tg_table_name using errcode = 'insufficient_privilege';
end
$$;
create trigger blobs_are_immutable before update or delete on log.blobs
    for each row execute function log.refuse_change();
create trigger blobs_are_not_truncated before truncate on log.blobs
    for each statement execute function log.refuse_change();

-- `log.append` for events that refer to blobs: both are there, or neither. An append that is refused may leave its blobs
-- behind, which the next try finds.
--
-- The blobs come before the lock of `log.append`, so that nobody waits for megabytes. Two that store the same blob wait
-- for each other, always in the order of the digests.
create function log.append_with_blobs(
    b_tenant text[], b_digest text[], b_content bytea[],
    s_id text[], s_expected integer[], s_expected_hash bytea[], s_version integer[], s_hash bytea[],
    e_stream integer[], e_version integer[], e_id text[], e_type text[], e_tenant text[], e_recorded_at timestamptz[],
    e_data text[], e_meta text[], e_prev_hash bytea[], e_hash bytea[]
) returns integer[] language plpgsql security definer set search_path = log, pg_temp as $$
begin
    insert into log.blobs (tenant, digest, content)
    select tenant, digest, content from unnest(b_tenant, b_digest, b_content) as b (tenant, digest, content)
    order by tenant, digest
    on conflict do nothing;

    return log.append(
        s_id, s_expected, s_expected_hash, s_version, s_hash,
        e_stream, e_version, e_id, e_type, e_tenant, e_recorded_at, e_data, e_meta, e_prev_hash, e_hash
    );
end
$$;

grant select on log.blobs to playhead_service;
revoke all on function log.append_with_blobs from public;
grant execute on function log.append_with_blobs to playhead_service;
