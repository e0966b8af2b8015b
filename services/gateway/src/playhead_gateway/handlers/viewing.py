"""Looking at executions: folded from the log, so that what was just done is seen."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from playhead_contracts.errors import InvalidInput
from playhead_contracts.events import ForkSource, Json, Parent
from playhead_contracts.ids import ExecutionId, execution_stream
from playhead_engine.folding import in_order
from playhead_engine.state import ExecutionState
from playhead_eventlog import LAST_VERSION
from playhead_gateway.access import Caller
from playhead_gateway.follow import TERMINAL_TYPES
from playhead_gateway.handlers.listening import StreamReply, event_stream, links_of
from playhead_gateway.handlers.loading import asking_children, check_execution, definition_of, load_execution, state_at
from playhead_gateway.handlers.starting import state_at_version
from playhead_gateway.paging import read_moment
from playhead_gateway.problems import BadRequest, VersionUnknown
from playhead_gateway.results import Result, result_of
from playhead_gateway.services import Services


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
    archived: bool | UnsetType = UNSET
    """Its events were moved out of the database."""
    links: dict[str, str]


class EventPage(msgspec.Struct, frozen=True):
    """Facts in order. `next_after` asks for more; null if this was the newest."""

    items: list[msgspec.Raw]
    next_after: int | None


async def show_execution(services: Services, caller: Caller, execution_id: str) -> ExecutionView:
    """Raises ExecutionUnknown and LogUnavailable, as all in here."""
    state = (await load_execution(services, caller, execution_id)).state
    is_archived = state.is_ended and await services.log.is_archived(execution_stream(state.execution_id))
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
        archived=is_archived or UNSET,
        links=links_of(state.execution_id),
    )


def children_of(state: ExecutionState) -> list[str]:
    """The child executions that blocks of this one have started, but for those of iterations that are long over."""
    return [block.child.execution_id for block in state.blocks.values() if block.child is not None]


async def list_events(services: Services, caller: Caller, execution_id: str, after: int, limit: int) -> EventPage:
    """The stored facts after a version, byte for byte, but for large values, which are filled in."""
    await check_execution(services, caller, execution_id)
    stream = execution_stream(ExecutionId(execution_id.lower()))
    raws = await services.log.read_raw(stream, after, limit + 1)
    shown = raws[:limit]
    frames = [msgspec.Raw(await services.log.whole(raw.frame(), opened=True)) for raw in shown]
    return EventPage(frames, shown[-1].version if len(raws) > limit else None)


async def show_state(
    services: Services, caller: Caller, execution_id: str, version: str | None, at: datetime | None
) -> ExecutionState:
    """The state at a version or at a moment, or now. Raises ImpossibleMoment and VersionUnknown."""
    if version is not None and at is not None:
        raise ImpossibleMoment("say either version or at")
    if version is not None:
        return in_order(await state_at_version(services, caller, execution_id, read_version(version)))
    if at is None:
        return in_order((await load_execution(services, caller, execution_id)).state)
    await check_execution(services, caller, execution_id)
    state = await state_at(services, ExecutionId(execution_id.lower()), at)
    if state is None:
        raise VersionUnknown(f"the execution did not exist yet at {at.isoformat()}")
    return in_order(state)


async def stream_execution(
    services: Services, caller: Caller, execution_id: str, after: int, *, follow: bool
) -> StreamReply | None:
    """What happened after a version as server-sent events, up to a pause, or to the end if they want to `follow`.

    None if the last fact is not after that version.
    """
    began = await check_execution(services, caller, execution_id)
    newest = await services.log.newest(execution_stream(began.execution_id))
    assert newest is not None
    if after >= newest.version and newest.type in TERMINAL_TYPES:
        return None
    stream = event_stream(services, caller.tenant, began.execution_id, after, began=began, ends_at_pause=not follow)
    return StreamReply(stream)


def read_at(text: str) -> datetime:
    """A moment. Raises ImpossibleMoment for what is no RFC 3339 time."""
    try:
        moment = read_moment("at", text)
    except BadRequest as exc:
        raise ImpossibleMoment(exc.detail) from exc
    assert moment is not None
    return moment


def read_version(text: str) -> int:
    """A version to look at. Raises ImpossibleMoment for what is none."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:20]) <= LAST_VERSION:
        raise ImpossibleMoment(f"a version is a whole number from 1 on, not {text[:32]!r}")
    return int(text)


def read_after(text: str) -> int:
    """The version that a follower has seen last. Raises BadRequest for what is no version."""
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > LAST_VERSION:
        raise BadRequest(f"{text[:32]!r} is no version of an event: 0 for the beginning, or the last id you have")
    return int(text)
