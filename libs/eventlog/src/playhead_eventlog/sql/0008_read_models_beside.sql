-- Read models beside the live ones, in schemas of their own: `read_building` while they are built, and `read_at_<name>`
-- when they are whole. The services make, name and drop these schemas through functions, and no other schema.
create function read.schema_of(name text) returns text language plpgsql immutable as $$
begin
    if name !~ '^[a-z0-9_]{1,40}$' then
        raise exception '% cannot be the name of a set of read models', name using errcode = 'invalid_name';
    end if;
    return 'read_at_' || name;
end
$$;

create function read.begin_building() returns void language plpgsql
    security definer set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
begin
    drop schema if exists read_building cascade;
    create schema read_building;
    grant usage, create on schema read_building to playhead_service;
end
$$;

create function read.name_building(name text) returns void language plpgsql
    security definer set search_path = pg_catalog, pg_temp as $$
begin
    execute format('alter schema read_building rename to %I', read.schema_of(name));
end
$$;

create function read.drop_building() returns void language plpgsql
    security definer set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
begin
    drop schema if exists read_building cascade;
end
$$;

create function read.drop_set(name text) returns void language plpgsql
    security definer set search_path = pg_catalog, pg_temp set client_min_messages = warning as $$
begin
    execute format('drop schema if exists %I cascade', read.schema_of(name));
end
$$;

revoke all on function
    read.schema_of, read.begin_building, read.name_building, read.drop_building, read.drop_set from public;
grant execute on function
    read.schema_of, read.begin_building, read.name_building, read.drop_building, read.drop_set to playhead_service;
