"""One row for each block instance of each execution."""

from playhead_engine.state import BlockState
from playhead_projector.folding import Change, Changes
from playhead_projector.projections.projection import Projection
from playhead_projector.table import Row, Table, json_text, plain_text, text_array

TABLE = Table(
    name="block_states",
    columns={
        "execution_id": "uuid not null",
        "path": "text not null",
        "tenant": "text not null",
        "status": "text not null",
        "attempt": "integer not null",
        "inputs": "json",
        "outputs": "json",
        "error": "json",
        "decision": "text[]",
        "started_at": "timestamptz",
        "ended_at": "timestamptz",
        "duration_ms": "float8",
        "reused_from_execution": "uuid",
        "reused_from_version": "integer",
        "waits_until": "timestamptz",
        "pause_id": "uuid",
        "child_execution_id": "uuid",
        "reason": "text",
        "version": "integer not null",
        "ordinal": "integer not null",
    },
    key=("execution_id", "path"),
    kept=frozenset({"ordinal"}),
)
"""`ordinal` is the version at which the block first appeared; blocks are listed in this order."""


def apply(changes: Changes) -> list[Row]:
    """One row for each block that changed."""
    return [
        _row(change, changed.state, changed.ordinal)
        for change in changes.executions
        for changed in change.blocks.values()
    ]


def _row(change: Change, block: BlockState, ordinal: int) -> Row:
    reused = block.reused_from
    return (
        change.state.execution_id,
        block.path,
        change.state.tenant,
        block.status.value,
        block.attempt,
        json_text(block.inputs),
        json_text(block.outputs),
        json_text(block.error),
        text_array(block.decision),
        block.started_at,
        block.ended_at,
        block.duration_ms,
        reused.execution_id if reused else None,
        reused.version if reused else None,
        block.until,
        block.pause_id,
        block.child.execution_id if block.child else None,
        plain_text(block.reason),
        block.version,
        ordinal,
    )


BLOCK_STATES = Projection(table=TABLE, follows="execution", apply=apply)
