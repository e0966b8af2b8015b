-- The groups that whoever holds a key belongs to: pauses can be assigned to a group.
alter table access.keys add column groups text[] not null default '{}';
