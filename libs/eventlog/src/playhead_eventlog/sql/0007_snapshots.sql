-- What long streams fold to at some versions, so that they need not be folded from their beginning (see snapshots.py).
-- Derived from the log: any row may go at any time. `hash` is that of the event at this version, which ties the state to
-- the very events it was folded from; `code` says which fold made it, and `checksum` is the sha256 of `state`.
create table log.snapshots (
    stream_id text not null,
    version   integer not null,
    hash      bytea not null,
    code      text not null,
    checksum  bytea not null,
    state     bytea not null,
    made_at   timestamptz not null default now(),
    primary key (stream_id, version)
);
grant select, insert, delete on log.snapshots to playhead_service;
