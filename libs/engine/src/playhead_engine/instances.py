"""Every block instance of an execution: those of iterations that are long over, too, which its state forgets."""

from typing import NamedTuple

from playhead_contracts.events import CLAIMS, Event, EventData
from playhead_contracts.ids import BlockPath
from playhead_engine.folding import create, evolve
from playhead_engine.state import BlockState, ExecutionState


class Instance(NamedTuple):
    """A block instance as the last event about it left it. `ordinal` is the version at which it first appeared."""

    ordinal: int
    block: BlockState


class Instances:
    """The instances of one execution, in the order in which they appeared, from its events in order."""

    def __init__(self) -> None:
        self.state: ExecutionState | None = None
        self.found: dict[BlockPath, Instance] = {}

    def add(self, event: Event) -> None:
        """Let one more event be true. Raises ImpossibleEvent."""
        envelope = event.envelope
        if self.state is None:
            self.state = create(event)
            return
        changed = changed_by(self.state, event.data)
        evolve(self.state, event.data, envelope.version, envelope.recorded_at, envelope.actor)
        for path in changed:
            # Noted at once: the state may forget it with the next event.
            if (block := self.state.blocks.get(path)) is not None:
                before = self.found.get(path)
                self.found[path] = Instance(before.ordinal if before else envelope.version, block)


def changed_by(state: ExecutionState, data: EventData) -> list[BlockPath]:
    """The block instances that an event changes, which comes next after `state`."""
    if isinstance(data, CLAIMS):
        # What was in flight at the last executor becomes interrupted, without an event of its own.
        return list(state.running)
    path: BlockPath | None = getattr(data, "path", None)
    return [] if path is None else [path]
