"""Looking at executions: folded from the log, so that what was just done is seen."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from playhead_contracts.errors import InvalidInput
from playhead_contracts.events import BlockError, BlockReference, ForkSource, Json, Parent
from playhead_contracts.ids import BlockPath, ExecutionId, execution_stream
from playhead_engine.compare import Comparison, compare
from playhead_engine.fold import fold
from playhead_engine.graph import Graph
from playhead_engine.state import BlockState, ExecutionState
from playhead_gateway.access import Caller
from playhead_gateway.follow import TERMINAL_TYPES
from playhead_gateway.handlers.listening import StreamReply, event_stream, links_of
from playhead_gateway.handlers.loading import asking_children, definition_of, load_execution
from playhead_gateway.handlers.starting import state_at_version
from playhead_gateway.paging import read_moment
from playhead_gateway.problems import BadRequest, ExecutionUnknown, VersionUnknown, is_uuid
from playhead_gateway.results import Result, result_of
from playhead_gateway.services import Services

LAST_VERSION = 2**31 - 1


class ImpossibleMoment(InvalidInput):
    problem, title = "impossible-moment", "This is no moment of an execution"


class ExecutionView(Result, kw_only=True):
    """An execution: its result so far, and everything else that a page about it shows."""

    mode: str
    created_at: datetime
    updated_at: datetime
    created_by: str
    input: Json
    last_version: int
    """Of its newest event."""
    due_at: datetime | None
    cancel_requested: bool
    source: ForkSource | None
    parent: Parent | UnsetType = UNSET
    children: list[str] | UnsetType = UNSET
    deadline: datetime | UnsetType = UNSET
    plan: Json | UnsetType = UNSET
    dead_lettered: str | UnsetType = UNSET
    links: dict[str, str]


class BlockRow(msgspec.Struct, frozen=True, kw_only=True):
    """One block instance of which something is known."""

    path: str
    type: str
    display_name: str
    status: str
    attempts: int
    inputs: dict[str, Json] | None
    outputs: Json
    decision: tuple[str, ...] | None
    error: BlockError | None
    reason: str | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: float | None
    waits_until: datetime | None
    pause_id: str | None
    reused_from: BlockReference | None
    version: int


class Blocks(msgspec.Struct, frozen=True):
    items: list[BlockRow]


class EventPage(msgspec.Struct, frozen=True):
    """Facts in order. `next_after` asks for more; null if this was the newest."""

    items: list[msgspec.Raw]
    next_after: int | None


async def show_execution(services: Services, caller: Caller, execution_id: str) -> ExecutionView:
    """Raises ExecutionUnknown and LogUnavailable, as all in here."""
    state = (await load_execution(services, caller, execution_id)).state
    result = result_of(state, (await definition_of(services, state)).graph, await asking_children(services, state))
    return ExecutionView(
        **msgspec.structs.asdict(result),
        mode=state.mode,
        created_at=state.created_at,
        updated_at=state.updated_at,
        created_by=state.created_by.name,
        input=state.input,
        last_version=state.version,
        due_at=state.due_at,
        cancel_requested=state.stop is not None and state.stop.kind == "cancel",
        source=state.source,
        parent=UNSET if state.parent is None else state.parent,
        children=children_of(state) or UNSET,
        deadline=UNSET if state.deadline is None else state.deadline,
        plan=UNSET if state.plan is None else state.plan,
        dead_lettered=UNSET if state.dead_lettered is None else state.dead_lettered,
        links=links_of(state.execution_id),
    )


async def list_blocks(services: Services, caller: Caller, execution_id: str) -> Blocks:
    """In the order of the document."""
    state = (await load_execution(services, caller, execution_id)).state
    graph = (await definition_of(services, state)).graph
    rows: list[BlockRow] = []
    for path, block in _in_document_order(graph, state):
        node = graph.node(path)
        rows.append(
            BlockRow(
                path=path,
                type=node.block.type,
                display_name=node.block.display_name or path,
                status=block.status,
                attempts=block.attempt,
                inputs=block.inputs,
                outputs=block.outputs,
                decision=block.decision,
                error=block.error,
                reason=block.reason,
                started_at=block.started_at,
                ended_at=block.ended_at,
                duration_ms=block.duration_ms,
                waits_until=block.until,
                pause_id=block.pause_id,
                reused_from=block.reused_from,
                version=block.version,
            )
        )
    return Blocks(rows)


def _in_document_order(graph: Graph, state: ExecutionState) -> list[tuple[BlockPath, BlockState]]:
    """The instances that the state knows; those of a container after it, iteration by iteration."""

    def place(path: BlockPath) -> list[tuple[int, int]]:
        order: list[tuple[int, int]] = []
        taken = ""
        for step in path.split("/"):
            taken += step
            index = int(step[step.index("[") + 1 : -1]) if step.endswith("]") else -1
            order.append((graph.node(taken).index, index))
            taken += "/"
        return order

    return sorted(state.blocks.items(), key=lambda item: place(item[0]))


def children_of(state: ExecutionState) -> list[str]:
    """The child executions that blocks of this one have started."""
    return [block.child.execution_id for block in state.blocks.values() if block.child is not None]


async def list_events(services: Services, caller: Caller, execution_id: str, after: int, limit: int) -> EventPage:
    """The stored facts after a version, byte for byte, but for large values, which are filled in."""
    await check_execution(services, caller, execution_id)
    stream = execution_stream(ExecutionId(execution_id.lower()))
    raws = await services.log.read_raw(stream, after, limit + 1)
    shown = raws[:limit]
    frames = [msgspec.Raw(await services.log.whole(raw.frame())) for raw in shown]
    return EventPage(frames, shown[-1].version if len(raws) > limit else None)


async def show_state(
    services: Services, caller: Caller, execution_id: str, version: str | None, at: datetime | None
) -> ExecutionState:
    """The state at a version or at a moment, or now. Raises ImpossibleMoment and VersionUnknown."""
    if version is not None and at is not None:
        raise ImpossibleMoment("say either version or at")
    if version is not None:
        if not (version.isascii() and version.isdigit()) or not 0 < int(version[:20]) <= LAST_VERSION:
            raise ImpossibleMoment(f"a version is a whole number from 1 on, not {version[:32]!r}")
        return await state_at_version(services, caller, execution_id, int(version))
    if at is None:
        return (await load_execution(services, caller, execution_id)).state
    await check_execution(services, caller, execution_id)
    events = await services.log.read(execution_stream(ExecutionId(execution_id.lower())))
    # Moments are told by clocks of several machines; the order is told by versions. The first later one ends it.
    later = next((index for index, event in enumerate(events) if event.recorded_at > at), len(events))
    state = fold(events[:later])
    if state is None:
        raise VersionUnknown(f"the execution did not exist yet at {at.isoformat()}")
    return state


async def compare_executions(services: Services, caller: Caller, a: str, b: str) -> Comparison:
    """Two executions of the caller, block by block."""
    left = await load_execution(services, caller, a)
    right = await load_execution(services, caller, b)
    return compare(left.state, right.state)


async def stream_execution(services: Services, caller: Caller, execution_id: str, after: int) -> StreamReply | None:
    """The facts after a version as server-sent events; None if the last one is not after it."""
    await check_execution(services, caller, execution_id)
    known_id = ExecutionId(execution_id.lower())
    known = after
    if after:
        stream = execution_stream(known_id)
        last = await services.log.read_raw(stream, after - 1, 1)
        if not last:
            # Beyond the end: listen from the end on, and pass over what is not asked for.
            last = (await services.log.read_raw(stream))[-1:]
            known = last[0].version
        if last[0].type in TERMINAL_TYPES:
            return None
    return StreamReply(event_stream(services, caller.tenant, known_id, after, known=known))


async def check_execution(services: Services, caller: Caller, execution_id: str) -> None:
    """Raises ExecutionUnknown unless it is there and the caller's."""
    raws: list[Any] = []
    if is_uuid(execution_id):
        raws = await services.log.read_raw(execution_stream(ExecutionId(execution_id.lower())), 0, 1)
    if not raws or raws[0].decode().envelope.tenant != caller.tenant:
        raise ExecutionUnknown(execution_id)


def read_at(text: str) -> datetime:
    """A moment. Raises ImpossibleMoment for what is no RFC 3339 time."""
    try:
        moment = read_moment("at", text)
    except BadRequest as exc:
        raise ImpossibleMoment(exc.detail) from exc
    assert moment is not None
    return moment


def read_after(text: str) -> int:
    """The version that a follower has seen last. Raises BadRequest for what is no version."""
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > LAST_VERSION:
        raise BadRequest(f"{text[:32]!r} is no version of an event: 0 for the beginning, or the last id you have")
    return int(text)
