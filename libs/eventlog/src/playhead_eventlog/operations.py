"""What people do to a tenant as a whole, as facts: keys made, exports written, people forgotten.

All of it stands in one stream of the tenant, `operations:<tenant>`. What concerns one execution or one workflow stands
in the stream of that one, with its actor, and is not told here again.

**An operation is recorded before it is done**, so that nothing is done unrecorded: if it then fails, whoever asked for
it sees the error and asks again. One that must be found again by such a repeat is given an id that follows from what it
does (`playhead_runtime.ids.derived_id`), and is then recorded once.

**An operation that touches several tenants is recorded in the stream of each**, before the first thing of that tenant
is touched: whoever watches over a tenant sees in one place all that was done to it. There is no stream of all tenants.
"""

import re
from datetime import datetime

from playhead_contracts.errors import Refused, VersionConflict
from playhead_contracts.events import Actor, EventData, NewEvent
from playhead_contracts.ids import TOKEN_PATTERN, EventId, TenantId, operations_stream
from playhead_eventlog.log import EventLog
from playhead_eventlog.stored import GENESIS, StreamHead

_TENANT = re.compile(TOKEN_PATTERN)


class NoSuchTenant(Refused):
    """A text that cannot be a tenant: it would have no place on the bus."""

    problem, title, status = "no-such-tenant", "This cannot be a tenant", 422


async def record_operation(
    log: EventLog, tenant: TenantId, fact: EventData, actor: Actor, *, event_id: EventId, at: datetime
) -> StreamHead:
    """Append a fact to the operations of a tenant; gives the head of that stream when it is durable.

    `event_id` is a new one (`playhead_runtime.ids.new_id`), or one that follows from what is done, if a repeat of it
    must not be recorded twice. `at` is now, UTC. `actor` is who does it: the caller of a request (`Caller.actor`), or
    whoever runs a command past the gateway (`playhead_cli.operator.operator`).

    Raises LogUnavailable and NoSuchTenant: then it must not be done.
    """
    if not _TENANT.fullmatch(tenant):
        raise NoSuchTenant(f"{tenant[:64]!r} is no tenant: letters, digits, - and _, at most 64")
    stream = operations_stream(tenant)
    new = NewEvent(
        id=event_id, data=fact, tenant=tenant, workflow_id=None, execution_id=None, actor=actor, recorded_at=at
    )
    while True:
        newest = await log.newest(stream)
        head = GENESIS if newest is None else StreamHead(newest.version, newest.hash)
        if await log.recorded([event_id]):
            return head
        try:
            return (await log.append(stream, head, [new])).head
        except VersionConflict:
            continue  # another operation of the tenant came first; they do not depend on each other
