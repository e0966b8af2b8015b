"""How an instance comes to rest in a state: what every fact about a block does with it."""

from typing import Any

from playhead_contracts.errors import Corrupt
from playhead_contracts.events import EventData
from playhead_contracts.ids import BlockPath
from playhead_engine.state import SETTLED, BlockState, ExecutionState, IterationState, scope_of_path


class ImpossibleEvent(Corrupt):
    """The log holds an event that cannot follow what came before it."""

    def __init__(self, data: EventData, state: ExecutionState | None):
        where = "an empty stream" if state is None else f"{state.execution_id} which is {state.status}"
        super().__init__(f"{data.type_name()} cannot happen to {where}")


def iteration_of(state: ExecutionState, path: BlockPath) -> IterationState | None:
    """The open iteration that an instance is in, noted from now on; None for a block of the outermost graph."""
    scope = scope_of_path(path)
    if not scope:
        return None
    iteration = state.iterations.get(scope)
    if iteration is None:
        iteration = state.iterations[scope] = IterationState()
    return iteration


def hold(state: ExecutionState, block: BlockState) -> None:
    """Note an instance that is neither in flight nor settled."""
    state.blocks[block.path] = block
    state.running.discard(block.path)
    state.waiting.add(block.path)
    iteration_of(state, block.path)


def settle(state: ExecutionState, block: BlockState) -> IterationState | None:
    """Note how an instance ended; gives the iteration that it is in."""
    before = state.blocks.get(block.path)
    if before is not None:
        if before.status in SETTLED:
            raise Corrupt(f"{block.path} of {state.execution_id} is {before.status} and cannot become {block.status}")
        state.containers.pop(block.path, None)
    state.blocks[block.path] = block
    state.running.discard(block.path)
    state.waiting.discard(block.path)
    state.idle_claims = 0
    iteration = iteration_of(state, block.path)
    if iteration is None:
        state.settled += 1
    else:
        iteration.settled.append(block.path)
    return iteration


def known(state: ExecutionState, data: Any) -> BlockState:
    """The instance that a fact is about, which has begun and not settled."""
    block = state.blocks.get(data.path)
    if block is None or block.status in SETTLED:
        raise ImpossibleEvent(data, state)
    return block
