"""Pauses: showing what is asked, and passing answers on to `hitl`, which decides about them."""

import asyncio
from datetime import datetime
from http import HTTPStatus

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import AnswerPause, PauseAnswered, Rejected
from playhead_contracts.errors import Fault, PlayheadError
from playhead_contracts.events import Actor, Json
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId
from playhead_contracts.pointers import pointer
from playhead_engine.state import ExecutionState
from playhead_gateway.access import Caller
from playhead_gateway.bodies import Approval, Approvals, ResumePause, read_body
from playhead_gateway.handlers.listening import (
    Reply,
    StreamReply,
    event_stream,
    links_of,
    rests,
    result_when_it_rests,
    result_with_plan,
)
from playhead_gateway.handlers.loading import definition_of, load_execution
from playhead_gateway.problems import ExecutionUnknown, InvalidRequest, PassedOn, PauseUnknown, is_uuid, tell
from playhead_gateway.services import Services

_ASK_SECONDS = 10.0
_CATCH_UP_SECONDS = 2.0
_MOST_ITEMS = 100
_PROJECTION = "pauses"


class BlockBefore(msgspec.Struct, frozen=True):
    status: str
    outputs: Json


class PauseView(msgspec.Struct, frozen=True, kw_only=True):
    """A pause, and what the blocks right before it gave."""

    pause_id: str
    execution_id: str
    workflow_id: str
    path: str
    status: str
    message: str
    form: dict[str, Json] | None
    show: dict[str, Json]
    assignees: tuple[str, ...]
    digest: str
    requested_at: datetime
    expires_at: datetime | None
    answer: dict[str, Json] | None
    resolved_by: Actor | None
    resolved_at: datetime | None
    reason: str | None
    before: dict[str, BlockBefore]
    links: dict[str, str]


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is recorded. `status` is `queued` until an executor goes on with it."""

    execution_id: str
    pause_id: str
    status: str
    repeated: bool
    answered_at: datetime
    links: dict[str, str]


class ItemOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item. `status` is the HTTP status that it would have had alone."""

    index: int
    pause_id: str | None
    outcome: str
    status: int
    problem: msgspec.Raw | None = None


class Outcomes(msgspec.Struct, frozen=True):
    execution_id: str
    items: list[ItemOutcome]


async def show_pause(services: Services, caller: Caller, pause_id: str) -> PauseView:
    """Raises PauseUnknown, once the read model knows everything that the log does."""
    row = await services.read_models.pause(caller.tenant, pause_id.lower()) if is_uuid(pause_id) else None
    if row is None and is_uuid(pause_id):
        # Whoever learnt the id from a stream may be faster than the projector.
        position = await services.log.last_position()
        await services.read_models.reaches(_PROJECTION, position, _CATCH_UP_SECONDS)
        row = await services.read_models.pause(caller.tenant, pause_id.lower())
    if row is None:
        raise PauseUnknown(pause_id)
    state = (await load_execution(services, caller, row.execution_id)).state
    pause = state.pauses[PauseId(row.pause_id)]
    graph = (await definition_of(services, state)).graph
    node = graph.node(pause.path)
    prefix = pause.path.removesuffix(node.id)
    before = dict.fromkeys(BlockPath(prefix + edge.source) for edge in node.incoming)
    here = f"/v1/executions/{state.execution_id}"
    return PauseView(
        pause_id=pause.pause_id,
        execution_id=state.execution_id,
        workflow_id=state.workflow_id,
        path=pause.path,
        status=pause.status,
        message=pause.message,
        form=pause.form,
        show=pause.show,
        assignees=pause.assignees,
        digest=pause.digest,
        requested_at=pause.requested_at,
        expires_at=pause.expires_at,
        answer=pause.answer,
        resolved_by=pause.resolved_by,
        resolved_at=pause.resolved_at,
        reason=pause.reason,
        before={
            path: BlockBefore(block.status, block.outputs)
            for path in before
            if (block := state.blocks.get(path)) is not None
        },
        links={"execution": here, "resume": f"{here}/pauses/{pause.pause_id}/resume"},
    )


async def resume(
    services: Services, caller: Caller, execution_id: str, pause_id: str, order: ResumePause
) -> Reply | StreamReply:
    """Give an answer, and tell what comes of it in the way in which the execution was started.

    Raises PassedOn, PauseUnknown, ExecutionUnknown, and BusUnavailable when nobody takes answers now.
    """
    if not is_uuid(execution_id):
        raise ExecutionUnknown(execution_id)
    # Listen before looking and asking: what comes of it cannot be missed then, and need not be read again.
    async with services.follows.open(caller.tenant, ExecutionId(execution_id.lower())) as follow:
        state = (await load_execution(services, caller, execution_id)).state
        if PauseId(pause_id.lower()) not in state.pauses:
            raise PauseUnknown(pause_id)
        question = _question(caller, state, pause_id, order.input, order.digest)
        answered = await _ask(services, question)
        after = state.pauses[question.pause_id].resolved_version or answered.version
        match state.mode:
            case "async":
                return _answered(state, question.pause_id, answered)
            case "stream":
                return StreamReply(
                    event_stream(services, state.tenant, state.execution_id, after - 1, ends_at_pause=True)
                )
            case "sync" if rests(state, after):
                return Reply(body=await result_with_plan(services, state))
            case "sync":
                return await result_when_it_rests(services, follow, state, after=after, is_caught_up=True)


async def approve(services: Services, caller: Caller, execution_id: str, order: Approvals) -> Reply:
    """Give several answers at once, with an outcome for each. Raises ExecutionUnknown and InvalidRequest."""
    state = (await load_execution(services, caller, execution_id)).state
    if not 0 < len(order.items) <= _MOST_ITEMS:
        raise InvalidRequest("nothing was recorded", errors=[Fault(pointer("items"), f"1 to {_MOST_ITEMS} items")])
    outcomes = await asyncio.gather(
        *(_outcome(services, caller, state, index, bytes(raw)) for index, raw in enumerate(order.items))
    )
    return Reply(body=Outcomes(state.execution_id, list(outcomes)))


def _question(
    caller: Caller, state: ExecutionState, pause_id: str, answer: dict[str, Json], digest: str | None
) -> AnswerPause:
    return AnswerPause(
        tenant=state.tenant,
        execution_id=state.execution_id,
        pause_id=PauseId(pause_id.lower()),
        answer=answer,
        actor=caller.actor,
        digest=digest,
    )


async def _ask(services: Services, question: AnswerPause) -> PauseAnswered:
    reply = await services.bus.request(
        subjects.ANSWER_REQUESTS, msgspec.json.encode(question), timeout_seconds=_ASK_SECONDS
    )
    if "status" in msgspec.json.decode(reply, type=dict[str, msgspec.Raw]):
        raise PassedOn(msgspec.json.decode(reply, type=Rejected))
    return msgspec.json.decode(reply, type=PauseAnswered)


def _answered(state: ExecutionState, pause_id: PauseId, answered: PauseAnswered) -> Reply:
    links = links_of(state.execution_id)
    body = Answered(
        execution_id=state.execution_id,
        pause_id=pause_id,
        status=str(state.status) if answered.repeated else "queued",
        repeated=answered.repeated,
        answered_at=answered.answered_at,
        links=links,
    )
    status = HTTPStatus.OK if answered.repeated else HTTPStatus.ACCEPTED
    return Reply(status=status, body=body, location=links["self"])


async def _outcome(services: Services, caller: Caller, state: ExecutionState, index: int, raw: bytes) -> ItemOutcome:
    pause_id = None
    try:
        item = read_body(raw, Approval)
        pause_id = item.pause_id
        if pause_id is None:
            name = "tool_call_id" if item.tool_call_id else "pause_id"
            detail = "no block asks about tool calls yet" if item.tool_call_id else "which pause is meant?"
            raise InvalidRequest(detail, errors=[Fault(pointer("items", index, name), detail)])
        if PauseId(pause_id.lower()) not in state.pauses:
            raise PauseUnknown(pause_id)
        answered = await _ask(services, _question(caller, state, pause_id, item.answer(), item.digest))
    except PlayheadError as exc:
        told = tell(exc)
        outcome = "refused" if told.status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"
        problem = msgspec.Raw(told.body)
        return ItemOutcome(index=index, pause_id=pause_id, outcome=outcome, status=told.status, problem=problem)
    outcome = "repeated" if answered.repeated else "answered"
    return ItemOutcome(index=index, pause_id=pause_id, outcome=outcome, status=HTTPStatus.OK)
