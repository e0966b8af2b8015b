"""One row for each execution: what lists and the status call show, and when somebody must be acting on it."""

from playhead_engine.due import due_at
from playhead_engine.state import ExecutionState
from playhead_projector.folding import Changes
from playhead_projector.projections.projection import Projection
from playhead_projector.table import Row, Table, json_text, plain_text

TABLE = Table(
    name="executions",
    columns={
        "execution_id": "uuid not null",
        "tenant": "text not null",
        "workflow_id": "text not null",
        "workflow_version": "integer not null",
        "status": "text not null",
        "mode": "text not null",
        "version": "integer not null",
        "created_at": "timestamptz not null",
        "started_at": "timestamptz",
        "ended_at": "timestamptz",
        "updated_at": "timestamptz not null",
        "error": "json",
        "http_status": "integer",
        "output": "json",
        "source_execution_id": "uuid",
        "source_version": "integer",
        "source_block": "text",
        "parent_execution_id": "uuid",
        "blocks_run": "integer not null",
        "blocks_reused": "integer not null",
        "blocks_skipped": "integer not null",
        "blocks_failed": "integer not null",
        "open_pauses": "integer not null",
        "due_at": "timestamptz",
    },
    key=("execution_id",),
    indexes={
        "due": "(due_at) where due_at is not null",
        "newest": "(tenant, created_at desc, execution_id)",
        "workflow": "(tenant, workflow_id, created_at desc, execution_id)",
        "status": "(tenant, status, created_at desc, execution_id)",
        "source": "(source_execution_id) where source_execution_id is not null",
        "parent": "(parent_execution_id, created_at desc, execution_id) where parent_execution_id is not null",
    },
)


def apply(changes: Changes) -> list[Row]:
    """One row for each execution touched."""
    return [_row(change.state) for change in changes.executions]


def _row(state: ExecutionState) -> Row:
    return (
        state.execution_id,
        state.tenant,
        state.workflow_id,
        state.workflow_version,
        state.status.value,
        state.mode,
        state.version,
        state.created_at,
        state.started_at,
        state.ended_at,
        state.updated_at,
        json_text(state.error),
        state.http_status,
        json_text(state.output),
        state.source.execution_id if state.source else None,
        state.source.version if state.source else None,
        plain_text(state.source.from_block) if state.source else None,
        state.parent.execution_id if state.parent else None,
        state.counts.run,
        state.counts.reused,
        state.counts.skipped,
        state.counts.failed,
        len(state.open_pauses()),
        due_at(state),
    )


EXECUTIONS = Projection(table=TABLE, follows="execution", apply=apply, version=2)
