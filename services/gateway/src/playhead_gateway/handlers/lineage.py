"""The tree of forks that an execution is in, readable from every side."""

from datetime import datetime

import msgspec

from playhead_contracts.ids import execution_stream
from playhead_gateway.access import Caller
from playhead_gateway.handlers.loading import check_execution, load_execution
from playhead_gateway.read_models import LineageRow, ReadModelsUnavailable
from playhead_gateway.services import Services

MOST_NODES = 1000
MOST_CHILDREN = 100
_CATCH_UP_SECONDS = 5.0
_PROJECTION = "executions"


class ForkPoint(msgspec.Struct, frozen=True):
    """Where a fork left its source: at which version, and with which block it began."""

    execution_id: str
    version: int
    from_block: str


class LineageNode(msgspec.Struct, frozen=True, kw_only=True):
    """An execution, where it comes from, and what came of it."""

    execution_id: str
    workflow_id: str
    version: int
    """Of the workflow."""
    status: str
    created_at: datetime
    source: ForkPoint | None
    forks: list[str]
    """Of it itself, the oldest first."""
    parent: str | None
    """The execution whose block started it, if it is a child."""
    children: list[str]
    """The executions that its blocks started, the oldest first, a hundred of them at most."""


class Lineage(msgspec.Struct, frozen=True):
    """The tree that `execution_id` is in, but for what was archived; of an archived one, it and what it comes from."""

    execution_id: str
    root: str
    ancestors: list[str]
    """From the root to what it was forked from; empty for the root."""
    executions: list[LineageNode]
    """All of the tree: the root, and after each execution its forks, each with all that came of it."""
    truncated: bool
    """Whether there are more forks than are shown, the deepest and youngest of which are left out."""


async def show_lineage(services: Services, caller: Caller, execution_id: str) -> Lineage:
    """Raises ExecutionUnknown, LogUnavailable, and ReadModelsUnavailable, also when they do not know it in time."""
    began = await check_execution(services, caller, execution_id)
    newest = await services.log.newest(execution_stream(began.execution_id))
    # What was just forked is there, however far the read model is behind.
    if newest is None or not await services.read_models.reaches(_PROJECTION, newest.position, _CATCH_UP_SECONDS):
        raise ReadModelsUnavailable("the read model of executions has not seen this one yet")
    rows = await services.read_models.lineage(caller.tenant, began.execution_id, MOST_CHILDREN, MOST_NODES + 1)
    rows = rows or await _of_archived(services, caller, began.execution_id)
    nodes = {row.execution_id: _node(row) for row in rows[:MOST_NODES]}
    for node in sorted(nodes.values(), key=lambda node: (node.created_at, node.execution_id)):
        if node.source is not None and node.source.execution_id in nodes:
            nodes[node.source.execution_id].forks.append(node.execution_id)
    root = rows[0].execution_id
    return Lineage(
        execution_id=began.execution_id,
        root=root,
        ancestors=_ancestors(nodes, began.execution_id),
        executions=_in_order(nodes, root),
        truncated=len(rows) > MOST_NODES,
    )


async def _of_archived(services: Services, caller: Caller, execution_id: str) -> list[LineageRow]:
    """An execution that read models have forgotten, and those that it was forked from; the root first."""
    rows: list[LineageRow] = []
    following: str | None = execution_id
    while following is not None and len(rows) < MOST_NODES:
        state = (await load_execution(services, caller, following)).state
        children = [block.child.execution_id for block in state.blocks.values() if block.child is not None]
        source = state.source
        rows.append(
            LineageRow(
                execution_id=state.execution_id,
                workflow_id=state.workflow_id,
                version=state.workflow_version,
                status=state.status.value,
                created_at=state.created_at,
                source=source and source.execution_id,
                source_version=source and source.version,
                from_block=source and source.from_block,
                parent=state.parent and state.parent.execution_id,
                children=list(children[:MOST_CHILDREN]),
            )
        )
        following = source and source.execution_id
    return rows[::-1]


def _node(row: LineageRow) -> LineageNode:
    source = None
    if row.source is not None:
        source = ForkPoint(row.source, row.source_version or 0, row.from_block or "")
    return LineageNode(
        execution_id=row.execution_id,
        workflow_id=row.workflow_id,
        version=row.version,
        status=row.status,
        created_at=row.created_at,
        source=source,
        forks=[],
        parent=row.parent,
        children=row.children,
    )


def _ancestors(nodes: dict[str, LineageNode], execution_id: str) -> list[str]:
    found: list[str] = []
    source = nodes[execution_id].source if execution_id in nodes else None
    while source is not None and source.execution_id in nodes:
        found.append(source.execution_id)
        source = nodes[source.execution_id].source
    return found[::-1]


def _in_order(nodes: dict[str, LineageNode], root: str) -> list[LineageNode]:
    """Not by recursion: forks of forks may be as deep as there are executions."""
    found: list[LineageNode] = []
    left = [root]
    while left:
        found.append(nodes[left.pop()])
        left += reversed(found[-1].forks)
    return found
