"""The whole state of each execution as one document, which any reader decodes into an `ExecutionState`."""

from copy import copy
from typing import cast

from playhead_contracts.ids import BlockPath
from playhead_engine.folding import FOLD_VERSION
from playhead_engine.state import ExecutionState
from playhead_projector.folding import Change, Changes
from playhead_projector.projections.projection import Projection
from playhead_projector.table import Row, Table, json_text

TABLE = Table(
    name="execution_states",
    columns={
        "execution_id": "uuid not null",
        "tenant": "text not null",
        "version": "integer not null",
        "position": "bigint not null",
        "state": "json not null",
    },
    key=("execution_id",),
)


def apply(changes: Changes) -> list[Row]:
    """One row for each execution touched."""
    return [_row(change) for change in changes.executions]


def _row(change: Change) -> Row:
    state = change.state
    document = json_text(_in_order(state) if len(state.running) > 1 or len(state.waiting) > 1 else state)
    return (state.execution_id, state.tenant, state.version, change.position, document)


def _in_order(state: ExecutionState) -> ExecutionState:
    """With its sets in order: the same state must give the same bytes in every process."""
    ordered = copy(state)
    ordered.running = cast(set[BlockPath], sorted(state.running))
    ordered.waiting = cast(set[BlockPath], sorted(state.waiting))
    return ordered


# The row is the state itself, so it is of another version whenever the fold is. Before that was counted there was one.
EXECUTION_STATES = Projection(table=TABLE, follows="execution", apply=apply, version=1 + FOLD_VERSION)
