"""Lists, from the read models, which follow the log after a moment."""

from collections.abc import Sequence

import msgspec

from playhead_gateway.access import Caller
from playhead_gateway.handlers.privacy import opened_rows
from playhead_gateway.paging import Page, page_of, read_name, read_place
from playhead_gateway.problems import BadRequest, is_uuid
from playhead_gateway.read_models import (
    ExecutionFilter,
    ExecutionRow,
    PauseCounts,
    PauseFilter,
    PauseRow,
    WorkflowRow,
)
from playhead_gateway.services import Services

_CATCH_UP_SECONDS = 0.25
"""How long a list waits to show what was recorded before it was asked for."""


async def list_workflows(services: Services, caller: Caller, cursor: str | None, limit: int) -> Page[WorkflowRow]:
    """By id, each with its newest version. Raises BadRequest for a cursor that is none, as all in here."""
    after = read_name(cursor)
    await _catch_up(services, "workflows")
    rows = await services.read_models.workflows(caller.tenant, after, limit + 1)
    return page_of(rows, limit, lambda row: row.workflow_id)


async def list_executions(
    services: Services, caller: Caller, wanted: ExecutionFilter, cursor: str | None, limit: int
) -> Page[ExecutionRow]:
    """Newest first."""
    before = read_place(cursor)
    await _catch_up(services, "executions")
    rows = await services.read_models.executions(caller.tenant, wanted, before, limit + 1)
    page = page_of(rows, limit, lambda row: (row.created_at, row.execution_id))
    of = [row.execution_id for row in page.items]
    return msgspec.structs.replace(page, items=await opened_rows(services, caller.tenant, page.items, of))


class Inbox(msgspec.Struct, frozen=True):
    """Some of the pauses asked for, and how many there are in all, whatever their status."""

    items: Sequence[PauseRow]
    counts: PauseCounts
    next_cursor: str | None = None


async def list_pauses(services: Services, caller: Caller, wanted: PauseFilter, cursor: str | None, limit: int) -> Inbox:
    """Newest first."""
    before = read_place(cursor)
    if wanted.execution is not None and not is_uuid(wanted.execution):
        raise BadRequest("execution: should be the id of one")
    await _catch_up(services, "pauses")
    rows = await services.read_models.pauses(caller.tenant, wanted, before, limit + 1)
    counts = await services.read_models.count_pauses(caller.tenant, wanted)
    page = page_of(rows, limit, lambda row: (row.requested_at, row.pause_id))
    of = [row.execution_id for row in page.items]
    return Inbox(await opened_rows(services, caller.tenant, page.items, of), counts, page.next_cursor)


def names_of(caller: Caller) -> list[str]:
    """Every name under which a pause may be for this caller."""
    named = [caller.name, f"user:{caller.name}"]
    return [*named, *(f"group:{group}" for group in caller.groups), *(f"scope:{scope}" for scope in caller.scopes)]


async def _catch_up(services: Services, projection: str) -> None:
    """Let the projection see what is in the log now, so that callers find in a list what they just did."""
    position = await services.log.last_position()
    await services.read_models.reaches(projection, position, _CATCH_UP_SECONDS)
