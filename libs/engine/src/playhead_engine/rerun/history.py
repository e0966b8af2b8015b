"""What an execution has been through, as far as a rerun of it can use it: where everything that settled is recorded.

The state forgets the instances of iterations that are over, and never knew where in the log an iteration ended. A
history keeps both, in a few numbers for each instance.
"""

from collections.abc import Iterable
from typing import NamedTuple

from playhead_contracts.events import (
    BlockCompleted,
    BlockFailed,
    BlockOverridden,
    BlockReference,
    BlockReused,
    BlockSkipped,
    BlockStarted,
    ContainerReused,
    Event,
    IterationCompleted,
    IterationReused,
    Json,
)
from playhead_contracts.ids import BlockPath
from playhead_engine.folding import create, evolve
from playhead_engine.state import BlockStatus, ExecutionState, container_of_scope, scope_of_path


class Settled(NamedTuple):
    """How an instance inside of a container settled. `reference` is where its outputs are, if it completed."""

    status: BlockStatus
    reference: BlockReference | None
    decision: tuple[str, ...] | None
    variables: dict[str, Json] | None


class Iteration(NamedTuple):
    """An iteration that is over. `variables` are what blocks inside of it had set."""

    reference: BlockReference
    is_ok: bool
    variables: dict[str, Json] | None


class History:
    """One execution, from its events in order."""

    def __init__(self) -> None:
        self._state: ExecutionState | None = None
        self.inside: dict[BlockPath, Settled] = {}
        """The settled instances inside of containers."""
        self.starts: dict[BlockPath, BlockReference] = {}
        """Where containers began."""
        self.iterations: dict[BlockPath, dict[int, Iteration]] = {}
        """The iterations of containers that are over."""
        self._set: dict[str, dict[str, Json]] = {}
        """The variables that were set in iterations that are not over."""

    @classmethod
    def of(cls, state: ExecutionState) -> "History":
        """What a state alone tells: enough where no container is to be taken over in part."""
        history = cls()
        history._state = state
        return history

    @property
    def state(self) -> ExecutionState:
        assert self._state is not None
        return self._state

    @property
    def is_empty(self) -> bool:
        return self._state is None

    def add_all(self, events: Iterable[Event]) -> None:
        """Let more events be true. Raises ImpossibleEvent."""
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Let one more event be true. Raises ImpossibleEvent."""
        envelope = event.envelope
        if self._state is None:
            self._state = create(event)
            return
        evolve(self._state, event.data, envelope.version, envelope.recorded_at, envelope.actor)
        self._note(event, BlockReference(execution_id=self._state.execution_id, version=envelope.version))

    def _note(self, event: Event, here: BlockReference) -> None:
        match event.data:
            case BlockStarted(path=path) if event.data.container is not None:
                self.starts[path] = here
                self.iterations[path] = {}
            case ContainerReused(path=path, reference=reference):
                self.starts[path] = reference
                self.iterations[path] = {}
            case IterationCompleted(path=path, index=index, error=error):
                variables = self._set.pop(f"{path}[{index}]", None)
                self.iterations[path][index] = Iteration(here, error is None, variables)
            case IterationReused(path=path, index=index, reference=reference, error=error, variables=variables):
                self.iterations[path][index] = Iteration(reference, error is None, variables)
            case BlockCompleted(path=path, decision=decision, variables=variables) if scope_of_path(path):
                self.inside[path] = Settled(BlockStatus.COMPLETED, here, decision, variables)
                self._note_variables(path, variables)
            case BlockReused(path=path, reference=reference) if scope_of_path(path):
                data = event.data
                self.inside[path] = Settled(BlockStatus.COMPLETED, reference, data.decision, data.variables)
                self._note_variables(path, data.variables)
            case BlockOverridden(path=path) if scope_of_path(path):
                self.inside[path] = Settled(BlockStatus.COMPLETED, here, event.data.decision, None)
            case BlockSkipped(path=path) if scope_of_path(path):
                self.inside[path] = Settled(BlockStatus.SKIPPED, None, None, None)
            case BlockFailed(path=path) if scope_of_path(path):
                self.inside[path] = Settled(BlockStatus.FAILED, None, None, None)
            case _:
                pass

    def _note_variables(self, path: BlockPath, variables: dict[str, Json] | None) -> None:
        while variables and (scope := scope_of_path(path)):
            self._set.setdefault(scope, {}).update(variables)
            path, _ = container_of_scope(scope)
