"""One row for each question to people: the inbox."""

from playhead_engine.pauses import asked_now
from playhead_engine.state import ExecutionState, PauseState
from playhead_projector.folding import Changes
from playhead_projector.projections.projection import Projection
from playhead_projector.table import Row, Table, json_text, plain_text, text_array

TABLE = Table(
    name="pauses",
    columns={
        "pause_id": "uuid not null",
        "execution_id": "uuid not null",
        "tenant": "text not null",
        "workflow_id": "text not null",
        "path": "text not null",
        "status": "text not null",
        "message": "text not null",
        "form": "json",
        "show": "json not null",
        "actions": "json not null",
        "asked": "text[] not null",
        "votes": "integer not null",
        "votes_needed": "integer",
        "escalations": "integer not null",
        "digest": "text not null",
        "requested_at": "timestamptz not null",
        "expires_at": "timestamptz",
        "answer": "json",
        "action": "text",
        "comment": "text",
        "resolved_by": "json",
        "resolved_at": "timestamptz",
        "reason": "text",
    },
    key=("pause_id",),
    indexes={"inbox": "(tenant, status, requested_at)", "execution": "(execution_id)"},
)


def apply(changes: Changes) -> list[Row]:
    """One row for each pause that changed."""
    return [
        _row(change.state, change.state.pauses[pause_id]) for change in changes.executions for pause_id in change.pauses
    ]


def _row(state: ExecutionState, pause: PauseState) -> Row:
    return (
        pause.pause_id,
        state.execution_id,
        state.tenant,
        state.workflow_id,
        pause.path,
        pause.status,
        plain_text(pause.message),
        json_text(pause.form),
        json_text(pause.show),
        json_text(list(pause.actions)),
        text_array(asked_now(pause)),
        len(pause.votes),
        None if pause.quorum is None else pause.quorum.needed,
        pause.escalations,
        pause.digest,
        pause.requested_at,
        pause.expires_at,
        json_text(pause.answer),
        pause.action,
        plain_text(pause.comment),
        json_text(pause.resolved_by),
        pause.resolved_at,
        plain_text(pause.reason),
    )


PAUSES = Projection(table=TABLE, follows="execution", apply=apply, version=2)
