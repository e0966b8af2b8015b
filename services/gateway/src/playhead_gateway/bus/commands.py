"""Commands of clients: the same handlers as over HTTP, and the answers on a subject in place of a response.

A command is admitted once, however often it comes: its idempotency key is what it says, or else what tells its message
from any other. So a gateway that took over from one that died says the receipt again, and then the result.
"""

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus

import msgspec

from playhead_contracts import subjects
from playhead_contracts.ids import ExecutionId
from playhead_contracts.requests import (
    ADMITTED,
    IDEMPOTENCY_HEADER,
    REQUESTS,
    AnyRequest,
    CancelRequest,
    RerunBody,
    RerunRequest,
    ResumeRequest,
    RunRequest,
    TriggeredRun,
)
from playhead_engine.admission import ExecutionHasEnded
from playhead_engine.state import ExecutionState
from playhead_gateway.access import Caller
from playhead_gateway.bodies import VARIABLE_HEADER, Rerun, read_body, read_idempotency_key
from playhead_gateway.bus.callers import Sent, caller_of, read_sent, trigger_of
from playhead_gateway.bus.refusing import answers_or_refusal, verdict_on
from playhead_gateway.bus.replies import Answers
from playhead_gateway.bus.subscriber import Again, Done, Verdict
from playhead_gateway.handlers.answering import answer_recorded, give_answer, with_answer
from playhead_gateway.handlers.cancelling import cancel_execution, cancel_recorded
from playhead_gateway.handlers.listening import Reply, evolve_until, rests, result_with_plan
from playhead_gateway.handlers.loading import load_execution
from playhead_gateway.handlers.rerunning import PlanReply, admit_rerun
from playhead_gateway.handlers.running import Wanted, run_and_answer
from playhead_gateway.handlers.starting import Asked, Begun, admit_start
from playhead_gateway.preferences import Manner
from playhead_gateway.problems import InvalidRequest
from playhead_gateway.services import Services
from playhead_runtime.pull import Delivery
from playhead_runtime.spans import processing
from playhead_runtime.tracing import Entered

log = logging.getLogger("playhead.gateway.bus")

MOST_HELD = 10_000
"""Commands whose senders wait for a result here. Those that come on top are looked at again every few seconds."""
MOST_ADMITTED_AT_ONCE = 128
_LOOK_AGAIN_SECONDS = 5.0
_AT_ONCE = Wanted(Manner("async"), follow=False, cancel_on_disconnect=False, left=None)

_RUN, _ANSWER = ("executions:run",), ("pauses:answer",)


class UnknownCommand(InvalidRequest):
    problem, title = "unknown-command", "There is no such command"

    def __init__(self, kind: str):
        super().__init__(f"there is no command {kind[:64]!r}; there are {', '.join(REQUESTS)}")


class _Admitted(msgspec.Struct, frozen=True):
    """A command that is in the log: its receipt, and how its result is found."""

    receipt: Reply
    repeated: bool
    state: ExecutionState
    holds: Callable[[], bool]
    """Whether `state`, which evolves, is the result."""
    told: Callable[[Reply], Reply] = lambda reply: reply


class Admission:
    """Admits the commands of clients, and tells them what comes of it."""

    def __init__(self, services: Services):
        self._services = services
        self._slots = asyncio.Semaphore(MOST_ADMITTED_AT_ONCE)
        self._held = 0

    async def handle(self, delivery: Delivery) -> Verdict:
        """Do what a message asks for; whatever goes wrong is answered, too."""
        sent = read_sent(delivery)
        # Until the key is known: a command that cannot be read is known by what tells its message from any other.
        key = sent.name
        answers = answers_or_refusal(self._services, sent, _name_of(sent))
        told = answers if isinstance(answers, Answers) else None
        try:
            if told is None:
                assert isinstance(answers, Exception)
                raise answers
            request = _read(sent)
            key = key_of(sent, request)
            async with self._slots:
                with self._traced(sent, key):
                    if isinstance(request, TriggeredRun):
                        caller = trigger_of(sent, request.trigger)
                    else:
                        caller = await caller_of(self._services, sent)
                    admitted = await self._admit(caller, sent, request, key)
            return await self._answer(admitted, request, told)
        except Exception as exc:  # noqa: BLE001 - the edge: told, kept or tried again, never swallowed
            return await verdict_on(self._services, sent, exc, told, key)

    def _traced(self, sent: Sent, key: str) -> Entered:
        """The place in the sender's trace, if it is in one."""
        subject, came, group = sent.delivery.subject, sent.headers.get("traceparent"), subjects.ADMISSION_CONSUMER
        return processing(self._services.tracer, subject, key, came, consumer=group, begins=True)

    async def _admit(self, caller: Caller, sent: Sent, request: AnyRequest, key: str) -> _Admitted | Reply:
        caller.check(_ANSWER if isinstance(request, ResumeRequest) else _RUN)
        match request:
            case RunRequest():
                asked = _asked(sent, key, request)
                return await self._begun(
                    caller, await admit_start(self._services, caller, request.workflow_id, request, asked)
                )
            case RerunRequest():
                wanted = Rerun(**{name: getattr(request, name) for name in _RERUN_FIELDS})
                asked = _asked(sent, key, request)
                begun = await admit_rerun(self._services, caller, request.execution_id, wanted, asked)
                return Reply(body=begun) if isinstance(begun, PlanReply) else await self._begun(caller, begun)
            case ResumeRequest():
                return await self._resume(caller, request, key)
            case CancelRequest():
                return await self._cancel(caller, sent, request)

    async def _begun(self, caller: Caller, begun: Begun) -> _Admitted:
        state = begun.state
        receipt = await run_and_answer(self._services, caller, state, begun.created, _AT_ONCE)
        assert isinstance(receipt, Reply)
        return _Admitted(receipt, not begun.is_new, state, lambda: rests(state))

    async def _resume(self, caller: Caller, request: ResumeRequest, key: str) -> _Admitted:
        given = await give_answer(self._services, caller, request.execution_id, request.pause_id, request, key)
        state = given.state
        return _Admitted(
            answer_recorded(given),
            given.answered.repeated,
            state,
            # A vote that decides nothing yet has no further result, as over HTTP.
            lambda: bool(given.answered.missing) or rests(state, given.after),
            lambda reply: with_answer(reply, given),
        )

    async def _cancel(self, caller: Caller, sent: Sent, request: CancelRequest) -> _Admitted:
        repeated = False
        try:
            receipt = await cancel_execution(self._services, caller, request.execution_id, request.reason)
            state = (await load_execution(self._services, caller, request.execution_id)).state
        except ExecutionHasEnded:
            state = (await load_execution(self._services, caller, request.execution_id)).state
            # Delivered once more: it may well have been this very command that ended it.
            if sent.delivery.num_delivered == 1 or state.stop is None or state.stop.kind != "cancel":
                raise
            receipt, repeated = cancel_recorded(state), True
        return _Admitted(receipt, repeated, state, lambda: state.is_ended)

    async def _answer(self, admitted: _Admitted | Reply, request: AnyRequest, answers: Answers) -> Verdict:
        if isinstance(admitted, Reply):
            await answers.result(admitted)
            return Done()
        await answers.receipt(admitted.receipt, repeated=admitted.repeated)
        if not answers.are_wanted or request.reply == "receipt":
            return Done()
        if not admitted.holds() and self._held >= MOST_HELD:
            return Again(_LOOK_AGAIN_SECONDS)
        await answers.result(await self._result(admitted))
        return Done()

    async def _result(self, admitted: _Admitted) -> Reply:
        services, state = self._services, admitted.state
        self._held += 1
        try:
            if not admitted.holds():
                async with services.follows.open(state.tenant, ExecutionId(state.execution_id)) as follow:
                    await evolve_until(services, follow.facts(state.version), state, admitted.holds)
            return admitted.told(Reply(status=HTTPStatus.OK, body=await result_with_plan(services, state)))
        finally:
            self._held -= 1


_RERUN_FIELDS = tuple(field.name for field in msgspec.structs.fields(RerunBody))


def key_of(sent: Sent, request: AnyRequest) -> str:
    """The idempotency key: what the header says, or the command, or the publisher to JetStream. Raises BadRequest."""
    said = sent.headers.get(IDEMPOTENCY_HEADER.lower()) or request.id or sent.headers.get("nats-msg-id")
    return read_idempotency_key(said) or sent.name


def _read(sent: Sent) -> AnyRequest:
    kind = ADMITTED.get(sent.kind)
    if kind is None:
        raise UnknownCommand(sent.kind)
    return read_body(sent.data, kind)


def _name_of(sent: Sent) -> str:
    """What a command is called in answers, if it gives itself no id."""
    return sent.headers.get(IDEMPOTENCY_HEADER.lower()) or sent.headers.get("nats-msg-id") or sent.name


def _asked(sent: Sent, key: str, request: RunRequest | RerunRequest) -> Asked:
    variables = tuple((name, value) for name, value in sent.headers.items() if name.startswith(VARIABLE_HEADER))
    trigger = request.trigger if isinstance(request, TriggeredRun) else None
    return Asked(key, variables, usually="async", trigger=trigger)
