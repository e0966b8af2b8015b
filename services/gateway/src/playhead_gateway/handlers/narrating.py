"""What a stream of an execution tells, fact by fact.

Besides the facts themselves, which have their version as id, it tells `output` before the fact that settles a block
whose output is wanted, `result` before the last fact, and `paused` after every fact at which the execution waits for
people. All of that follows from the facts up to there and from nothing else, so that who is there live, who comes later
and who comes again are told the same bytes. What it takes is folded only when there is something to tell, and
forgotten when nothing happens: a stream that waits for days holds no state.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence

import msgspec

from playhead_contracts.commands import Chunk
from playhead_contracts.events import (
    BlockCompleted,
    BlockFailed,
    BlockOverridden,
    BlockReused,
    ExecutionCancelRequested,
    ExecutionPaused,
    ExecutionRecovered,
    ExecutionResumed,
    ExecutionStarted,
    Json,
    PauseResolved,
    decode_joined,
)
from playhead_contracts.ids import ExecutionId, execution_stream
from playhead_engine.graph import Graph
from playhead_engine.state import BlockStatus, ExecutionState, ExecutionStatus
from playhead_eventlog import RawEvent
from playhead_gateway.chunk_shelf import CHUNK_TYPE, ChunkShelf, read_chunk
from playhead_gateway.follow import PAUSED_TYPE, TERMINAL_TYPES, Fact
from playhead_gateway.handlers.loading import children_as_told, definition_of, evolved, state_until
from playhead_gateway.results import Result, display_name_of, result_of, with_plan
from playhead_gateway.services import Services
from playhead_runtime.live import kept_chunks

_WRITE_BYTES = 256 * 1024
_REMEMBERED_BYTES = 1024 * 1024

_BEGINS = frozenset({"block.started", "block.dispatched"})
_ENDS = frozenset({"block.completed", "block.failed", "block.retry_scheduled", "block.skipped"})
_SETTLES = frozenset(kind.type_name() for kind in (BlockCompleted, BlockFailed, BlockReused, BlockOverridden))
_GOES_ON = TERMINAL_TYPES | {
    kind.type_name()
    for kind in (ExecutionStarted, ExecutionResumed, ExecutionRecovered, ExecutionCancelRequested, PauseResolved)
}
"""Facts after which an execution that was paused is not waiting for people any more."""


class ToldOutput(msgspec.Struct, frozen=True):
    """The data of an event `output`."""

    block: str
    type: str
    status: str
    content: Json
    display_name: str


class _Place(msgspec.Struct):
    path: str
    attempt: int = 1


class _Placed(msgspec.Struct):
    data: _Place


_decode_placed = msgspec.json.Decoder(_Placed).decode


async def open_narrator(
    services: Services, execution_id: ExecutionId, after: int, known: ExecutionState | None = None
) -> "Narrator":
    """A narrator for a client that has seen the facts up to `after`, and already listens. Raises LogUnavailable.

    `known` is a state of the execution, if the caller has one.
    """
    began = known or await state_until(services, execution_id, 1)
    newest, frames, definition = await asyncio.gather(
        services.log.newest(execution_stream(execution_id)),
        kept_chunks(services.bus, began.tenant, execution_id),
        definition_of(services, began),
    )
    assert newest is not None
    if newest.type in TERMINAL_TYPES:
        frames = []  # what counts is what came of them
    kept = [chunk for frame in frames for line in frame.split(b"\n") if (chunk := read_chunk(line)) is not None]
    return Narrator(services, began, definition.graph, after, newest, kept)


class Narrator:
    """Tells one client of one execution. The client has seen `after`; `newest` was there when it came."""

    def __init__(
        self,
        services: Services,
        began: ExecutionState,
        graph: Graph,
        after: int,
        newest: RawEvent,
        kept: Iterable[Chunk],
    ):
        self._services = services
        self._execution_id: ExecutionId = began.execution_id
        self._graph = graph
        self._wanted = frozenset(began.outputs_asked or graph.terminals)
        self._after = after
        self._head = newest.version
        self._shelf = ChunkShelf(kept)
        self._state: ExecutionState | None = None
        self._recent: list[Fact] = []
        """Facts that have passed and are not in the state yet, without a gap."""
        self._recent_bytes = 0
        self._may_rest: bool | None = None if after else False
        """Whether the newest fact told left it waiting for people; None: not known."""
        self._has_ended = newest.type in TERMINAL_TYPES and after >= newest.version
        self.version = min(after, newest.version)
        """Of the newest fact that has passed here."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing follows the facts that have passed."""
        return self._has_ended

    @property
    def is_paused(self) -> bool:
        """Whether the newest fact left it waiting for people."""
        return self._may_rest is True

    @property
    def is_settled(self) -> bool:
        """Whether the client has been told a result: the last one, or that of a pause."""
        return self._has_ended or self.is_paused

    async def begin(self) -> bytes:
        """What is told before any fact: pieces of what is at work at `after`, and that people are waited for there."""
        told = b""
        if self._after and not self._shelf.is_idle:
            told += _chunks(self._shelf.reconnected(await self._state_at(self.version)))
        if self.version >= self._head and not self._has_ended:
            told += _chunks(self._shelf.caught_up())
            told += await self._paused()
        return told

    def forget(self) -> None:
        """Hold no state while nothing happens."""
        self._state = None
        self._forget_recent()

    async def tell(self, batch: Iterable[Fact]) -> AsyncGenerator[bytes]:
        """The facts and what goes with them, in as few writes as are sensible. Raises LogUnavailable."""
        parts: list[bytes] = []
        size_bytes = 0
        for fact in batch:
            try:
                told = _chunks(self._shelf.came(fact.chunk)) if fact.chunk is not None else await self._fact(fact)
            except Exception:
                yield b"".join(parts)  # those before the one that cannot be told
                raise
            parts.append(told)
            size_bytes += len(told)
            if size_bytes > _WRITE_BYTES:
                yield b"".join(parts)
                parts, size_bytes = [], 0
        if size_bytes:
            yield b"".join(parts)

    async def _fact(self, fact: Fact) -> bytes:
        self._remember(fact)
        if fact.version <= self._after:
            return b""  # from beyond the end: it is waited for
        frame = await self._services.log.whole(fact.frame, opened=True)
        before = after = b""
        if fact.type.startswith("block."):
            place = _decode_placed(fact.frame).data
            if fact.type in _ENDS and not self._shelf.is_idle:
                before = _chunks(self._shelf.over(place.path, place.attempt))
            if fact.type in _SETTLES and place.path in self._wanted and place.path in self._graph.nodes:
                before += await self._output(fact)
            if fact.type in _BEGINS and not self._shelf.is_idle:
                after = _chunks(self._shelf.begun(place.path, place.attempt))
        elif fact.type in TERMINAL_TYPES:
            self._has_ended = True
            before = _event("result", _told_result(await self._state_at(fact.version), self._graph, ()))
        if fact.version == self._head:
            after += _chunks(self._shelf.caught_up())
        if self._may_wait(fact):
            after += await self._paused()
        return b"%bid: %d\nevent: %b\ndata: %b\n\n%b" % (before, fact.version, fact.type.encode(), frame, after)

    async def _paused(self) -> bytes:
        """The event `paused`, if the execution waits for people at the version that is told; else nothing."""
        state = await self._state_at(self.version)
        self._may_rest = rests(state) and not state.is_ended
        if not self._may_rest:
            return b""
        children = await children_as_told(self._services, state)
        return _event("paused", _told_result(state, self._graph, children))

    def _may_wait(self, fact: Fact) -> bool:
        if fact.type == PAUSED_TYPE:
            data = decode_joined(fact.frame).data
            self._may_rest = isinstance(data, ExecutionPaused) and bool(data.pauses)
        elif fact.type in _GOES_ON or fact.type.startswith(("block.", "iteration.")):
            self._may_rest = False
        return self._may_rest is not False

    async def _output(self, fact: Fact) -> bytes:
        [event] = await self._services.log.hydrate([decode_joined(fact.frame)])
        data = event.data
        assert isinstance(data, BlockCompleted | BlockFailed | BlockReused | BlockOverridden)
        has_failed = isinstance(data, BlockFailed)
        block = self._graph.nodes[data.path].block
        told = ToldOutput(
            block=data.path,
            type=block.type,
            status=BlockStatus.FAILED if has_failed else BlockStatus.COMPLETED,
            content=None if has_failed else data.outputs,
            display_name=display_name_of(data.path, block),
        )
        return _event("output", told)

    def _remember(self, fact: Fact) -> None:
        if self._recent_bytes > _REMEMBERED_BYTES:
            self._forget_recent()
        self.version = fact.version
        self._recent.append(fact)
        self._recent_bytes += len(fact.frame)

    def _forget_recent(self) -> None:
        self._recent.clear()
        self._recent_bytes = 0

    async def _state_at(self, version: int) -> ExecutionState:
        """The state at the newest version that has passed. Raises LogUnavailable."""
        known = 0 if self._state is None else self._state.version
        if known < version:
            recent = self._recent
            if recent and recent[0].version == known + 1 and recent[-1].version == version:
                # None is missing between them: facts pass here one by one.
                events = await self._services.log.hydrate([decode_joined(fact.frame) for fact in recent])
                for event in events:
                    self._state = evolved(self._state, event)
            else:
                self._state = await state_until(self._services, self._execution_id, version, self._state)
            self._forget_recent()
        assert self._state is not None
        return self._state


def rests(state: ExecutionState, after: int = 0) -> bool:
    """Whether there is a result to tell: it has ended, or waits for people and nobody has answered since.

    Facts up to version `after` are what the caller did; it rests only if something came of it. Waiting for a timer is
    not resting.
    """
    if state.is_ended:
        return True
    is_waiting = state.status is ExecutionStatus.PAUSED and state.unheeded == 0
    return is_waiting and state.version > after and bool(state.asked_pauses())


def _told_result(state: ExecutionState, graph: Graph, children: Sequence[ExecutionState]) -> Result:
    """The body of a sync call as it follows from this state alone: of children, what it knows of."""
    return with_plan(result_of(state, graph, children, only=state.asked_pauses()), state)


def _event(kind: str, data: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), msgspec.json.encode(data))


def _chunks(chunks: Iterable[Chunk]) -> bytes:
    return b"".join(_event(CHUNK_TYPE, chunk) for chunk in chunks)
