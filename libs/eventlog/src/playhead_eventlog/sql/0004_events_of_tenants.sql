-- Finding what came to a tenant since a position: messages, and how executions ended. These are what is waited for most,
-- and few of all events, so that appending the others costs nothing more. The types stand in queries.py, too.
create index events_of_tenants on log.events (tenant, type, position)
    where type in (
        'event.received', 'event.published',
        'execution.completed', 'execution.failed', 'execution.cancelled', 'execution.timed_out'
    );
