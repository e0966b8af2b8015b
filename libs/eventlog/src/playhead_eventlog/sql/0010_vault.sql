-- The keys with which values about people are sealed (see vault.py): one for each person of a tenant. The one table of
-- which the log cannot make another, and in which rows are destroyed: to destroy a key is to forget what it sealed.
create schema vault;

create table vault.subject_keys (
    tenant     text not null,
    subject    text not null,
    key_id     uuid not null unique,
    key        bytea not null,
    is_wrapped boolean not null default false,
    created_at timestamptz not null default now(),
    primary key (tenant, subject)
);

-- The key of a person, which is the one given here if there was none. Two that begin at once get the same.
create function vault.key_for(
    its_tenant text, its_subject text, new_id uuid, new_key bytea, new_is_wrapped boolean
) returns table (key_id uuid, key bytea, is_wrapped boolean)
language plpgsql security definer set search_path = vault, pg_temp as $$
begin
    return query select k.key_id, k.key, k.is_wrapped from vault.subject_keys k
        where k.tenant = its_tenant and k.subject = its_subject;
    if found then
        return;
    end if;
    insert into vault.subject_keys (tenant, subject, key_id, key, is_wrapped)
        values (its_tenant, its_subject, new_id, new_key, new_is_wrapped)
        on conflict do nothing;
    return query select k.key_id, k.key, k.is_wrapped from vault.subject_keys k
        where k.tenant = its_tenant and k.subject = its_subject;
end
$$;

create function vault.forget(its_tenant text, its_subject text, its_key uuid) returns bigint
language plpgsql security definer set search_path = vault, pg_temp as $$
declare
    gone bigint;
begin
    delete from vault.subject_keys k
        where k.tenant = its_tenant and k.subject = its_subject and k.key_id = its_key;
    get diagnostics gone = row_count;
    return gone;
end
$$;

grant usage on schema vault to playhead_service;
grant select on vault.subject_keys to playhead_service;
revoke all on function vault.key_for, vault.forget from public;
grant execute on function vault.key_for, vault.forget to playhead_service;

-- The executions that hold personal values, so that forgetting finds those of a person without reading the log. Of all
-- other events, none is in it.
create index events_personal on log.events (tenant, position)
    where type = 'execution.created' and data like '%"personal":{%';
