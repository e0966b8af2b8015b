"""The block instances of an execution, in the order in which they appeared: pages stay what they were while it goes on.

They come of the log, so that what was just done is seen. To page through a long execution in that way would mean to
fold it for each page: its rows come of the read model, once that has seen everything that is in the log now.
"""

import msgspec

from playhead_contracts.ids import ExecutionId, execution_stream
from playhead_engine.graph import Graph
from playhead_engine.instances import Instance, Instances
from playhead_engine.state import ExecutionState
from playhead_gateway.access import Caller
from playhead_gateway.handlers.loading import check_execution, definition_of, pages_of
from playhead_gateway.handlers.privacy import opened_rows
from playhead_gateway.paging import Page, page_of, read_number
from playhead_gateway.problems import BadRequest
from playhead_gateway.read_models import InstanceRow, ReadModelsUnavailable
from playhead_gateway.services import Services

_SHORT = 2000
"""Events up to which folding an execution costs less than asking the read model whether it knows everything."""
_CATCH_UP_SECONDS = 2.0
_PROJECTION = "block_states"


class BlockRow(InstanceRow, frozen=True, kw_only=True):
    """One block instance of which something is known. `ordinal` is the version at which it first appeared."""

    type: str
    display_name: str


async def list_blocks(
    services: Services, caller: Caller, execution_id: str, under: str | None, cursor: str | None, limit: int
) -> Page[BlockRow]:
    """Those inside of container or iteration `under`, or all. Raises ExecutionUnknown, BadRequest, LogUnavailable."""
    after = read_number(cursor)
    began = await check_execution(services, caller, execution_id)
    graph = (await definition_of(services, began)).graph
    if under is not None:
        _check_under(graph, under)
    rows = await _from_read_model(services, began, under, after, limit + 1)
    if rows is None:
        rows = await _from_log(services, began.execution_id, under, after, limit + 1)
    return page_of([_row(graph, row) for row in rows], limit, lambda row: row.ordinal)


def _check_under(graph: Graph, under: str) -> None:
    try:
        graph.node(under)
    except KeyError as exc:
        raise BadRequest(f"under: there is no block {under[:64]!r}; say it as each, each[2] or each[2]/inner") from exc


async def _from_read_model(
    services: Services, began: ExecutionState, under: str | None, after: int, limit: int
) -> list[InstanceRow] | None:
    """None if the execution is short, or the read model is behind."""
    stream = execution_stream(began.execution_id)
    # Of what is in the archive, the read model knows nothing any more.
    if not await services.log.read_raw(stream, _SHORT, 1) or await services.log.is_archived(stream):
        return None
    position = await services.log.last_position()
    try:
        if await services.read_models.reaches(_PROJECTION, position, _CATCH_UP_SECONDS):
            rows = await services.read_models.instances(began.tenant, began.execution_id, under, after, limit)
            return await opened_rows(services, began.tenant, rows, [began.execution_id] * len(rows))
    except ReadModelsUnavailable:
        pass  # the log has everything, too
    return None


async def _from_log(
    services: Services, execution_id: ExecutionId, under: str | None, after: int, limit: int
) -> list[InstanceRow]:
    instances = Instances()
    async for events, _ in pages_of(services, execution_id):
        for event in events:
            instances.add(event)
    inside = () if under is None else (f"{under}[", f"{under}/")
    found = [
        instance
        for path, instance in instances.found.items()
        if instance.ordinal > after and (not inside or path.startswith(inside))
    ]
    return [_folded(instance) for instance in found[:limit]]


def _folded(instance: Instance) -> InstanceRow:
    block = instance.block
    return InstanceRow(
        path=block.path,
        status=block.status,
        attempts=block.attempt,
        inputs=block.inputs,
        outputs=block.outputs,
        decision=block.decision,
        error=block.error,
        reason=block.reason,
        started_at=block.started_at,
        ended_at=block.ended_at,
        duration_ms=block.duration_ms,
        waits_until=block.until,
        pause_id=block.pause_id,
        child=None if block.child is None else block.child.execution_id,
        reused_from=block.reused_from,
        version=block.version,
        ordinal=instance.ordinal,
    )


def _row(graph: Graph, row: InstanceRow) -> BlockRow:
    block = graph.node(row.path).block
    return BlockRow(**msgspec.structs.asdict(row), type=block.type, display_name=block.display_name or row.path)
