"""What a batch of the log did: for each execution in it the state it led to, and what of it changed.

States come from the log alone. Those of executions that are being worked on are kept and evolved in place; one that
is not there, or is not at the version that comes before the batch, is folded from its stream, all such streams of a
batch in one query. So a folding may be handed any batch, in any order; what it keeps only saves reading. An execution
that pauses or ends is forgotten: while it waits for a person, it costs nothing here.

Sealed values stay sealed: what is folded here is stored, and must be gone when their key is.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec

from playhead_contracts.errors import Corrupt
from playhead_contracts.events import PAUSE_FACTS, Event, ExecutionArchived
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId, StreamId
from playhead_engine.folding import EXECUTIONS, create, evolve, fold
from playhead_engine.instances import changed_by
from playhead_engine.state import BlockState, ExecutionState, ExecutionStatus
from playhead_eventlog import EVERY, Folds, RawEvent, StreamHead

KEPT_STATES = 2000
"""Executions whose states are kept between batches; above that the one that was longest without an event goes."""

StreamKind = Literal["execution", "workflow"]


class Streams(Protocol):
    """What a folding needs of an event log."""

    async def load_many(self, until: dict[StreamId, int], *, opened: bool = ...) -> dict[StreamId, list[Event]]: ...

    async def fold(
        self, stream_id: StreamId, how: Folds[ExecutionState], until: int = ..., *, opened: bool = ...
    ) -> tuple[ExecutionState | None, StreamHead]: ...

    async def hydrate(self, events: list[Event], *, opened: bool = ...) -> list[Event]: ...


class ChangedBlock(msgspec.Struct, frozen=True):
    """A block after a batch. `ordinal` is the version of its first event in the batch."""

    ordinal: int
    state: BlockState


class Change(msgspec.Struct):
    """What a batch did to one execution."""

    state: ExecutionState
    position: int
    """Of its last event in the batch."""
    blocks: dict[BlockPath, "ChangedBlock"]
    """The blocks that changed, as the last event about each left it."""
    pauses: dict[PauseId, None]
    """The pauses that changed, in order."""


class Changes(msgspec.Struct, frozen=True):
    """What a batch did. The states are only good until the next batch is folded."""

    executions: list[Change]
    workflows: list[Event]
    """The events of workflow streams, as they are."""
    events: list[Event]
    """Those of executions, as they are, with large values and reused outputs filled in."""
    archived: list[ExecutionId] = []
    """Executions that were moved out of the log: whatever tells of one of them goes (see `Store.move`)."""


class Folding:
    """States of executions, from batches of the log."""

    def __init__(self, streams: Streams, keep: int = KEPT_STATES, *, from_snapshots: bool = False):
        """`from_snapshots`: a long execution that comes back is not folded whole; not all is of the log alone then."""
        self._streams = streams
        self._from_snapshots = from_snapshots
        self._keep = keep
        self._states: OrderedDict[StreamId, ExecutionState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def forget(self) -> None:
        """Drop every state, as one must when a batch failed half-way."""
        self._states.clear()

    async def changes(self, batch: Sequence[RawEvent], kinds: Iterable[StreamKind]) -> Changes:
        """Fold a batch, which follows the log without a gap. Events of streams that are not of `kinds` are not read.

        Raises Corrupt, or msgspec.DecodeError, when an event is unknown or cannot follow what came before it; then
        `forget`. Raises LogUnavailable.
        """
        wanted = tuple(f"{kind}:" for kind in kinds)
        decoded = [raw.decode() for raw in batch if raw.stream_id.startswith(wanted)]
        events = await self._streams.hydrate(decoded, opened=False)
        of_executions = [event for event in events if event.envelope.stream_id.startswith("execution:")]
        await self._load(of_executions)
        touched: dict[StreamId, Change] = {}
        for event in of_executions:
            self._fold(event, touched)
        self._forget_idle(touched)
        of_workflows = [event for event in events if event.envelope.stream_id.startswith("workflow:")]
        return Changes(list(touched.values()), of_workflows, of_executions, _archived(batch))

    async def _load(self, events: list[Event]) -> None:
        first: dict[StreamId, int] = {}
        for event in events:
            first.setdefault(event.envelope.stream_id, event.version)
        before: dict[StreamId, int] = {}
        for stream_id, version in first.items():
            state = self._states.get(stream_id)
            if state is None or state.version != version - 1:
                self._states.pop(stream_id, None)
                if version > 1:
                    before[stream_id] = version - 1
        if not before:
            return
        long = {stream: version for stream, version in before.items() if self._from_snapshots and version > EVERY}
        found: dict[StreamId, ExecutionState | None] = {}
        for stream, version in long.items():
            found[stream], _ = await self._streams.fold(stream, EXECUTIONS, version, opened=False)
        short = {stream: version for stream, version in before.items() if stream not in long}
        if short:
            histories = await self._streams.load_many(short, opened=False)
            found |= {stream: fold(history) for stream, history in histories.items()}
        for stream_id, state in found.items():
            if state is None or state.version != before[stream_id]:
                raise Corrupt(f"{stream_id} does not hold its events up to version {before[stream_id]}")
            self._states[stream_id] = state

    def _fold(self, event: Event, touched: dict[StreamId, Change]) -> None:
        envelope, data = event.envelope, event.data
        change = touched.get(envelope.stream_id)
        if change is None:
            state = self._states.get(envelope.stream_id)
            change = Change(state or create(event), event.position, {}, {})
            touched[envelope.stream_id] = change
            if state is None:
                return
        state = change.state
        change.position = event.position
        changed = changed_by(state, data)
        evolve(state, data, envelope.version, envelope.recorded_at, envelope.actor)
        for path in changed:
            _note(change, path, envelope.version)
        if isinstance(data, PAUSE_FACTS):
            change.pauses[data.pause_id] = None

    def _forget_idle(self, touched: dict[StreamId, Change]) -> None:
        for stream_id, change in touched.items():
            if change.state.is_ended or change.state.status is ExecutionStatus.PAUSED:
                self._states.pop(stream_id, None)
            else:
                self._states[stream_id] = change.state
                self._states.move_to_end(stream_id)
        while len(self._states) > self._keep:
            self._states.popitem(last=False)


def _archived(batch: Sequence[RawEvent]) -> list[ExecutionId]:
    told = [raw.decode().data for raw in batch if raw.type == ExecutionArchived.type_name()]
    return [each for data in told if isinstance(data, ExecutionArchived) for each in data.executions]


def _note(change: Change, path: BlockPath, version: int) -> None:
    """Keep a block as it is now: the state forgets the instances of iterations that are over."""
    before = change.blocks.get(path)
    block = change.state.blocks.get(path)
    if block is not None:
        change.blocks[path] = ChangedBlock(before.ordinal if before else version, block)
