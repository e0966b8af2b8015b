"""One row for each published version of a workflow, for lists; the documents are in the log."""

from playhead_contracts.events import Event, Json, WorkflowPublished
from playhead_projector.folding import Changes
from playhead_projector.projections.projection import Projection
from playhead_projector.table import Row, Table, plain_text

TABLE = Table(
    name="workflows",
    columns={
        "tenant": "text not null",
        "workflow_id": "text not null",
        "version": "integer not null",
        "digest": "text not null",
        "published_at": "timestamptz not null",
        "name": "text",
        "block_count": "integer not null",
    },
    key=("tenant", "workflow_id", "version"),
)


def apply(changes: Changes) -> list[Row]:
    """One row for each version published."""
    return [_row(event, event.data) for event in changes.workflows if isinstance(event.data, WorkflowPublished)]


def _row(event: Event, data: WorkflowPublished) -> Row:
    name: Json = data.document.get("name")
    blocks: Json = data.document.get("blocks") or {}
    return (
        event.envelope.tenant,
        event.envelope.stream_id.split(":", 2)[2],
        data.workflow_version,
        data.digest,
        event.recorded_at,
        plain_text(name) if isinstance(name, str) else None,
        len(blocks),
    )


WORKFLOWS = Projection(table=TABLE, follows="workflow", apply=apply)
