"""Pauses: showing what is asked, and passing answers on to `hitl`, which decides about them."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus

import msgspec

from playhead_contracts import commands, subjects
from playhead_contracts.commands import AnswerPause, PauseAnswered, PauseChanged, Rejected
from playhead_contracts.durations import parse_duration
from playhead_contracts.errors import Fault, PlayheadError
from playhead_contracts.events import Actor, Expiry, Json, PauseAction, Quorum
from playhead_contracts.ids import BlockPath, ExecutionId, PauseId
from playhead_contracts.pointers import pointer
from playhead_contracts.requests import ResumeBody
from playhead_engine.pauses import asked_now
from playhead_engine.pauses.answering import actions_of
from playhead_engine.state import Delegation, ExecutionState, PauseState, Vote
from playhead_gateway.access import Caller
from playhead_gateway.bodies import Approval, Approvals, DelegatePause, ExtendPause, ResumePause, read_body
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
from playhead_gateway.preferences import manner_wanted
from playhead_gateway.problems import ExecutionUnknown, InvalidRequest, PassedOn, PauseUnknown, is_uuid, tell
from playhead_gateway.services import Services
from playhead_runtime.bus import NoAnswer
from playhead_runtime.ids import new_id
from playhead_runtime.spans import about, publishing
from playhead_runtime.tracing import current_traceparent

_ASK_AGAIN_SECONDS = 3.0
_ASK_SECONDS = 7.0
_CATCH_UP_SECONDS = 2.0
_MOST_ITEMS = 100
_PROJECTION = "pauses"


class AskedToResume(msgspec.Struct, frozen=True):
    """What came with an answer besides its body. The names of `headers` are in lower case."""

    idempotency_key: str | None = None
    headers: Mapping[str, str] = {}


class BlockBefore(msgspec.Struct, frozen=True):
    status: str
    outputs: Json


class PauseView(msgspec.Struct, frozen=True, kw_only=True):
    """A pause, what became of it, and what the blocks right before it gave."""

    pause_id: str
    execution_id: str
    workflow_id: str
    path: str
    status: str
    message: str
    form: dict[str, Json] | None
    show: dict[str, Json]
    order: tuple[str, ...]
    labels: dict[str, str]
    actions: tuple[PauseAction, ...]
    """What can be decided; `approve` and `deny` if the workflow names nothing else."""
    assignees: tuple[str, ...]
    """Who may answer now; nobody named means whoever may answer pauses."""
    barred: tuple[str, ...]
    quorum: Quorum | None
    votes: tuple[Vote, ...]
    delegations: tuple[Delegation, ...]
    escalations: int
    digest: str
    requested_at: datetime
    expires_at: datetime | None
    remind_at: datetime | None
    on_expiry: Expiry | None
    answer: dict[str, Json] | None
    action: str | None
    comment: str | None
    resolved_by: Actor | None
    on_behalf_of: str | None
    resolved_at: datetime | None
    reason: str | None
    before: dict[str, BlockBefore]
    links: dict[str, str]


class AnswerTaken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an answer: `repeated` if it stood before. `missing` is how many more people must say the same."""

    pause_id: str
    repeated: bool
    answered_by: Actor
    answered_at: datetime
    action: str | None = None
    missing: int = 0


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer is recorded. `status` is `queued` until an executor goes on with it."""

    execution_id: str
    pause_id: str
    status: str
    repeated: bool
    answered_by: Actor
    answered_at: datetime
    action: str | None
    missing: int
    links: dict[str, str]


class Given(msgspec.Struct, frozen=True):
    """An answer that stands: the execution as it was right before it was given, and `after` which version it counts."""

    state: ExecutionState
    pause_id: PauseId
    answered: PauseAnswered
    after: int


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for holds; `repeated` if it did before."""

    pause_id: str
    version: int
    repeated: bool


class ItemOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one item. `status` is the HTTP status that it would have had alone."""

    index: int
    pause_id: str | None
    outcome: str
    status: int
    missing: int = 0
    problem: msgspec.Raw | None = None


class Outcomes(msgspec.Struct, frozen=True):
    """An outcome for each item, and the pauses that are still open."""

    execution_id: str
    items: list[ItemOutcome]
    open: list[str]


async def show_pause(services: Services, caller: Caller, pause_id: str) -> PauseView:
    """Raises PauseUnknown, once the read model knows everything that the log does."""
    state, pause = await find_pause(services, caller, pause_id)
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
        order=pause.order or tuple(sorted(pause.show)),
        labels=pause.labels,
        actions=tuple(actions_of(pause).values()),
        assignees=asked_now(pause),
        barred=pause.barred,
        quorum=pause.quorum,
        votes=pause.votes,
        delegations=pause.delegations,
        escalations=pause.escalations,
        digest=pause.digest,
        requested_at=pause.requested_at,
        expires_at=pause.expires_at,
        remind_at=pause.remind_at,
        on_expiry=pause.on_expiry,
        answer=pause.answer,
        action=pause.action,
        comment=pause.comment,
        resolved_by=pause.resolved_by,
        on_behalf_of=pause.on_behalf_of,
        resolved_at=pause.resolved_at,
        reason=pause.reason,
        before={
            path: BlockBefore(block.status, block.outputs)
            for path in before
            if (block := state.blocks.get(path)) is not None
        },
        links={"execution": here}
        | {verb: f"{here}/pauses/{pause.pause_id}/{verb}" for verb in ("resume", "extend", "delegate")},
    )


async def find_pause(services: Services, caller: Caller, pause_id: str) -> tuple[ExecutionState, PauseState]:
    """A pause of the caller's tenant by its id alone, and its execution. Raises PauseUnknown."""
    row = await services.read_models.pause(caller.tenant, pause_id.lower()) if is_uuid(pause_id) else None
    if row is None and is_uuid(pause_id):
        # Whoever learnt the id from a stream may be faster than the projector.
        position = await services.log.last_position()
        await services.read_models.reaches(_PROJECTION, position, _CATCH_UP_SECONDS)
        row = await services.read_models.pause(caller.tenant, pause_id.lower())
    if row is None:
        raise PauseUnknown(pause_id)
    state = (await load_execution(services, caller, row.execution_id)).state
    return state, state.pauses[PauseId(row.pause_id)]


async def resume(
    services: Services, caller: Caller, execution_id: str, pause_id: str, order: ResumePause, asked: AskedToResume
) -> Reply | StreamReply:
    """Give an answer, and tell what comes of it: as the caller asks for, or else as the execution was started.

    Raises PassedOn, PauseUnknown, ExecutionUnknown, and BusUnavailable when nobody takes answers now.
    """
    if not is_uuid(execution_id):
        raise ExecutionUnknown(execution_id)
    # Listen before looking and asking: what comes of it cannot be missed then, and need not be read again.
    async with services.follows.open(caller.tenant, ExecutionId(execution_id.lower())) as follow:
        given = await give_answer(services, caller, execution_id, pause_id, order, asked.idempotency_key)
        state = given.state
        manner = manner_wanted(order.mode, asked.headers, state.mode)
        match manner.mode:
            case "stream":
                return StreamReply(
                    event_stream(services, state.tenant, state.execution_id, given.after - 1, ends_at_pause=True)
                )
            case "async":
                reply = answer_recorded(given)
            case "sync" if given.answered.missing or rests(state, given.after):
                reply = with_answer(Reply(body=await result_with_plan(services, state)), given)
            case "sync":
                reply = await result_when_it_rests(
                    services, follow, state, after=given.after, is_caught_up=True, manner=manner
                )
                reply = with_answer(reply, given)
        return msgspec.structs.replace(reply, preference_applied=manner.applied)


async def give_answer(
    services: Services, caller: Caller, execution_id: str, pause_id: str, order: ResumeBody, key: str | None
) -> Given:
    """Have an answer recorded, or find that it was before. Raises as `resume`."""
    state = await _state_with(services, caller, execution_id, pause_id)
    question = msgspec.structs.replace(
        question_of(caller, state, pause_id, order.input),
        action=order.action,
        comment=order.comment,
        digest=order.digest,
        key=None if key is None else "sha256:" + sha256(key.encode()).hexdigest(),
    )
    answered = await ask(services, question)
    after = state.pauses[question.pause_id].resolved_version or answered.version
    return Given(state, question.pause_id, answered, after)


async def extend(services: Services, caller: Caller, execution_id: str, pause_id: str, order: ExtendPause) -> Reply:
    """Give people more time. Raises PassedOn, PauseUnknown, ExecutionUnknown, InvalidRequest, BusUnavailable."""
    state = await _state_with(services, caller, execution_id, pause_id)
    command = commands.ExtendPause(
        tenant=state.tenant,
        execution_id=state.execution_id,
        pause_id=PauseId(pause_id.lower()),
        expires_at=_end_of(order, services.clock.now()),
        actor=caller.actor,
        is_operator=caller.is_operator,
        reason=order.reason,
    )
    return await _change(services, subjects.EXTEND_REQUESTS, command)


async def delegate(services: Services, caller: Caller, execution_id: str, pause_id: str, order: DelegatePause) -> Reply:
    """Pass the right to answer on. Raises PassedOn, PauseUnknown, ExecutionUnknown, BusUnavailable."""
    state = await _state_with(services, caller, execution_id, pause_id)
    command = commands.DelegatePause(
        tenant=state.tenant,
        execution_id=state.execution_id,
        pause_id=PauseId(pause_id.lower()),
        to=order.to,
        actor=caller.actor,
        groups=tuple(sorted(caller.groups)),
        scopes=tuple(sorted(caller.scopes)),
        reason=order.reason,
    )
    return await _change(services, subjects.DELEGATE_REQUESTS, command)


async def approve(services: Services, caller: Caller, execution_id: str, order: Approvals) -> Reply:
    """Give several answers at once, with an outcome for each. Raises ExecutionUnknown and InvalidRequest."""
    state = (await load_execution(services, caller, execution_id)).state
    if not 0 < len(order.items) <= _MOST_ITEMS:
        raise InvalidRequest("nothing was recorded", errors=[Fault(pointer("items"), f"1 to {_MOST_ITEMS} items")])
    outcomes = await asyncio.gather(
        *(_outcome(services, caller, state, index, bytes(raw)) for index, raw in enumerate(order.items))
    )
    now = (await load_execution(services, caller, execution_id)).state
    still_open: list[str] = [pause.pause_id for pause in now.pauses.values() if pause.status == "open"]
    return Reply(body=Outcomes(state.execution_id, list(outcomes), still_open))


def question_of(caller: Caller, state: ExecutionState, pause_id: str, answer: dict[str, Json]) -> AnswerPause:
    """What `hitl` is asked about an answer of this caller."""
    return AnswerPause(
        tenant=state.tenant,
        execution_id=state.execution_id,
        pause_id=PauseId(pause_id.lower()),
        answer=answer,
        actor=caller.actor,
        groups=tuple(sorted(caller.groups)),
        scopes=tuple(sorted(caller.scopes)),
        anonymous=caller.anonymous,
    )


async def ask(services: Services, question: AnswerPause) -> PauseAnswered:
    """Let `hitl` decide about an answer. Raises PassedOn with its refusal, and BusUnavailable."""
    reply = await _requested(services, subjects.ANSWER_REQUESTS, question)
    return msgspec.json.decode(reply, type=PauseAnswered)


async def _change(services: Services, subject: str, command: commands.ExtendPause | commands.DelegatePause) -> Reply:
    reply = msgspec.json.decode(await _requested(services, subject, command), type=PauseChanged)
    return Reply(body=Changed(pause_id=command.pause_id, version=reply.version, repeated=reply.repeated))


async def _requested(
    services: Services, subject: str, command: AnswerPause | commands.ExtendPause | commands.DelegatePause
) -> bytes:
    with publishing(subject, new_id(), command.execution_id):
        request = msgspec.json.encode(msgspec.structs.replace(command, traceparent=current_traceparent()))
        try:
            reply = await services.bus.request(subject, request, timeout_seconds=_ASK_AGAIN_SECONDS)
        except NoAnswer:
            # Whoever had it may be gone. What holds already is told as that, so it can be asked again.
            reply = await services.bus.request(subject, request, timeout_seconds=_ASK_SECONDS)
    if "problem" in msgspec.json.decode(reply, type=dict[str, msgspec.Raw]):
        raise PassedOn(msgspec.json.decode(reply, type=Rejected))
    return reply


async def _state_with(services: Services, caller: Caller, execution_id: str, pause_id: str) -> ExecutionState:
    state = (await load_execution(services, caller, execution_id)).state
    if PauseId(pause_id.lower()) not in state.pauses:
        raise PauseUnknown(pause_id)
    about(state)
    return state


def _end_of(order: ExtendPause, now: datetime) -> datetime:
    if (order.expires_at is None) == (order.expires_in is None):
        detail = "say one of expires_at and expires_in"
        raise InvalidRequest(detail, errors=[Fault(pointer("expires_at"), detail)])
    if order.expires_at is not None:
        if order.expires_at.tzinfo is None:
            detail = "has no offset; write it as ...Z"
            raise InvalidRequest(f"expires_at {detail}", errors=[Fault(pointer("expires_at"), detail)])
        return order.expires_at.astimezone(UTC)
    try:
        return now + parse_duration(order.expires_in or "")
    except (ValueError, OverflowError) as exc:
        raise InvalidRequest("that is no duration", errors=[Fault(pointer("expires_in"), str(exc))]) from exc


def _taken(given: Given) -> AnswerTaken:
    answered = given.answered
    return AnswerTaken(
        pause_id=given.pause_id,
        repeated=answered.repeated,
        answered_by=answered.answered_by,
        answered_at=answered.answered_at,
        action=answered.action,
        missing=answered.missing,
    )


def with_answer(reply: Reply, given: Given) -> Reply:
    """The same reply, which also says what became of the answer."""
    body = msgspec.to_builtins(reply.body, builtin_types=(datetime,))
    return msgspec.structs.replace(reply, body={**body, "resumed": _taken(given)})


def answer_recorded(given: Given) -> Reply:
    """202 for an answer that is recorded, 200 if it was before."""
    state, answered = given.state, given.answered
    links = links_of(state.execution_id)
    body = Answered(
        execution_id=state.execution_id,
        pause_id=given.pause_id,
        status=str(state.status) if answered.repeated or answered.missing else "queued",
        repeated=answered.repeated,
        answered_by=answered.answered_by,
        answered_at=answered.answered_at,
        action=answered.action,
        missing=answered.missing,
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
        if item.approved is None and item.action is None and item.input is None:
            detail = "what is the answer? `approved`, `action` or `input`"
            raise InvalidRequest(detail, errors=[Fault(pointer("items", index, "approved"), detail)])
        if PauseId(pause_id.lower()) not in state.pauses:
            raise PauseUnknown(pause_id)
        question = question_of(caller, state, pause_id, item.answer())
        question = msgspec.structs.replace(question, action=item.action, comment=item.comment, digest=item.digest)
        answered = await ask(services, question)
    except PlayheadError as exc:
        told = tell(exc)
        outcome = "refused" if told.status < HTTPStatus.INTERNAL_SERVER_ERROR else "failed"
        problem = msgspec.Raw(told.body)
        return ItemOutcome(index=index, pause_id=pause_id, outcome=outcome, status=told.status, problem=problem)
    outcome = "repeated" if answered.repeated else "voted" if answered.missing else "answered"
    return ItemOutcome(index=index, pause_id=pause_id, outcome=outcome, status=HTTPStatus.OK, missing=answered.missing)
