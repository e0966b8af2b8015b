"""States as bytes and as JSON: what snapshots hold, how to fold on from one, and what is shown."""

from copy import copy
from typing import cast

import msgspec

from playhead_contracts.events import Event, Json
from playhead_contracts.ids import BlockPath, StreamId, execution_stream
from playhead_engine.folding.fold import create, evolve
from playhead_engine.state import ExecutionState

FOLD_VERSION = 3
"""Raise it whenever a state comes to look or to mean something else: snapshots made before are then of no use.

That is so for a new member of `ExecutionState`, or of what is in it, and for a rule of `evolve` that gives another
state for the same events. A test knows the shape, and nobody but you the meaning.
"""


class ExecutionFold:
    """How the events of an execution become its state, for whoever keeps snapshots. Use `EXECUTIONS`."""

    code = f"execution/{FOLD_VERSION}"

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(ExecutionState)

    def evolve(self, state: ExecutionState | None, event: Event) -> ExecutionState:
        """The same state, evolved; or the first one. Raises ImpossibleEvent."""
        if state is None:
            return create(event)
        evolve(state, event.data, event.version, event.recorded_at, event.envelope.actor)
        return state

    def encode(self, state: ExecutionState) -> bytes:
        return msgspec.json.encode(state)

    def decode(self, content: bytes, stream_id: StreamId, version: int) -> ExecutionState:
        """Raises ValueError for what is no state of this execution at this version."""
        state = self._decoder.decode(content)
        if (execution_stream(state.execution_id), state.version) != (stream_id, version):
            raise ValueError(f"it is {state.execution_id} at version {state.version}")
        return state


EXECUTIONS = ExecutionFold()


def in_order(state: ExecutionState) -> ExecutionState:
    """The same state with its sets in order, to be shown: the same state gives the same JSON in every process."""
    if len(state.running) < 2 and len(state.waiting) < 2:
        return state
    ordered = copy(state)
    ordered.running = cast(set[BlockPath], sorted(state.running))
    ordered.waiting = cast(set[BlockPath], sorted(state.waiting))
    return ordered


def state_json(state: ExecutionState) -> dict[str, Json]:
    """A state as the JSON that is shown of it. It stays as it is when the state is evolved."""
    return msgspec.to_builtins(in_order(state), str_keys=True)
