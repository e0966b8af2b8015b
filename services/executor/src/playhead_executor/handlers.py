"""Handling a command: load, let the core decide whether there is something to claim, run it.

An executor handles one command for an execution at a time. What comes for an execution that it holds only nudges its
runner, whose journal reads the log; what comes while a claim is being decided waits for that decision.
"""

import logging

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import AnyCommand, Nudge, NudgeReply, Run, TaskResult, TaskResultReply
from playhead_contracts.errors import VersionConflict
from playhead_contracts.events import (
    Actor,
    Event,
    EventData,
    ExecutionCreated,
    ExecutionDeadLettered,
    ExecutionRecovered,
    NewEvent,
    decode_joined,
    split,
)
from playhead_contracts.ids import EventId, ExecutionId, execution_stream
from playhead_engine.folding import EXECUTIONS, create
from playhead_engine.ownership import Claim, HeldBy, Nothing, Poisoned, decide_claim
from playhead_engine.privacy import seal_of
from playhead_engine.scheduling import Moment
from playhead_engine.state import ExecutionState
from playhead_engine.tasks import ResultRefused, decide_task_result
from playhead_eventlog import GENESIS, EventLog, StreamHead, chain
from playhead_executor.children import Children
from playhead_executor.definitions import Definitions
from playhead_executor.dispatch import dispatched_in, send_tasks
from playhead_executor.journal import ClaimLost, Fenced, Journal, Loaded
from playhead_executor.runner import Ending, Runner
from playhead_executor.work import Workshop
from playhead_runtime.bus import Bus, NoAnswer, NobodyThere
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from playhead_runtime.live import tell
from playhead_runtime.spans import segment, segment_over
from playhead_runtime.tracing import Tracer, current_traceparent

log = logging.getLogger("playhead.executor")

NUDGE_SECONDS = 1.0


class Verdict(msgspec.Struct, frozen=True):
    """What is to become of a command: done, or wanted again after a while."""

    done: bool
    again_in_seconds: float = 0.0
    given_up: str | None = None
    """Why the command is to be kept as a dead letter in place of being done."""
    keep_silent: bool = False
    """Neither: somebody else's lease hangs on it now."""


DONE = Verdict(done=True)
SILENT = Verdict(done=False, keep_silent=True)


class Executor:
    """Everything that one executor holds: the executions it has claimed, and what it needs to run them."""

    def __init__(
        self,
        name: str,
        log: EventLog,
        bus: Bus,
        clock: Clock,
        definitions: Definitions,
        workshop: Workshop,
        tracer: Tracer,
    ):
        self.name = name
        self._log = log
        self._bus = bus
        self._clock = clock
        self._definitions = definitions
        self._workshop = workshop
        self._tracer = tracer
        self._actor = Actor(kind="system", name=name)
        self._children = Children(log, bus, clock, definitions, self._actor)
        self._runners: dict[ExecutionId, Runner] = {}
        self._stopping = False

    @property
    def held(self) -> int:
        """How many executions are at work here."""
        return len(self._runners)

    def holds(self, execution_id: ExecutionId) -> bool:
        return execution_id in self._runners

    def nudge(self, execution_id: ExecutionId) -> bool:
        """Make the runner of this execution look at the log; False if it is not held here."""
        runner = self._runners.get(execution_id)
        if runner is not None:
            runner.nudge()
        return runner is not None

    async def answer_nudge(self, request: bytes) -> bytes:
        """The `Nudge` request of another executor."""
        nudge = msgspec.json.decode(request, type=Nudge)
        return msgspec.json.encode(NudgeReply(held=self.nudge(nudge.execution_id)))

    def stop(self) -> None:
        """Start nothing new; every runner hands back as soon as its effects in flight are known."""
        self._stopping = True
        for runner in self._runners.values():
            runner.stop()

    async def handle(self, command: AnyCommand, first_delivery: bool) -> Verdict:
        """Do what the command asks for, to the end of this executor's part in it.

        Raises LogUnavailable, BusUnavailable, and whatever a bug raises; the execution is then let go, and the log
        decides what its next holder sees.
        """
        if isinstance(command, TaskResult):
            await self._take_result(command)
        loaded = await self._load(command, first_delivery)
        owner_is_gone = False
        while loaded is not None:
            if self.nudge(command.execution_id):
                return DONE
            decision = decide_claim(loaded.state, self.name, command.id, owner_is_gone)
            match decision:
                case Nothing():
                    return DONE
                case Poisoned():
                    reason = f"{decision.failures} executors in a row were lost over it, and nothing got done"
                    await self.dead_letter(command, decision.failures, reason)
                    return Verdict(done=False, given_up=reason)
                case HeldBy():
                    held = await self._ask_owner(decision.executor, command.execution_id)
                    if held is None:
                        return Verdict(done=False, again_in_seconds=NUDGE_SECONDS)
                    if held:
                        return DONE
                    owner_is_gone = True
                case Claim():
                    try:
                        return await self._run(loaded, decision, command)
                    except ClaimLost:
                        owner_is_gone = False
                    except Fenced:
                        return SILENT
            loaded = await self._load(command, first_delivery=False)
        log.warning("command for an execution that is not in the log", extra={"execution_id": command.execution_id})
        return DONE

    async def _take_result(self, result: TaskResult) -> None:
        """Record what a remote worker made of its task, if it counts, and tell the worker which."""
        stream = execution_stream(result.execution_id)
        while True:
            loaded = await self._load(result, first_delivery=False)
            try:
                facts = decide_task_result(loaded.state if loaded is not None else None, result)
                if facts and loaded is not None:
                    new = [self._new(fact, loaded.state, result) for fact in facts]
                    appended = await self._log.append(stream, loaded.head, new)
                    await tell(self._bus, result.tenant, result.execution_id, appended.frames)
            except VersionConflict:
                continue  # somebody else's fact came first: look at it, decide again
            except ResultRefused as refused:
                reply = TaskResultReply(accepted=False, reason=refused.detail)
            else:
                reply = TaskResultReply(accepted=True)
            if result.reply_to is not None:
                await self._bus.publish(result.reply_to, msgspec.json.encode(reply))
            return

    async def give_out_again(self, execution_id: ExecutionId) -> None:
        """Put the tasks of an execution on the bus that no worker has answered; those that are there stay one."""
        state, _ = await self._log.fold(execution_stream(execution_id), EXECUTIONS)
        if state is not None and not state.is_ended:
            await send_tasks(self._bus, state, dispatched_in(state))

    async def dead_letter(self, command: AnyCommand, failures: int, error: str) -> str:
        """Record that the command was given up; gives what may be said of the error outside of the log.

        The dead letter itself is the subscriber's to send.
        """
        loaded = await self._load(command, first_delivery=False)
        if loaded is None:
            return error
        # The words of a bug may quote what it was about; the kind comes before the colon.
        told = error if loaded.state.personal is None else f"{error.partition(':')[0]}: the log has its words, sealed"
        if loaded.state.is_ended:
            return told
        fact = ExecutionDeadLettered(command=command.id, failures=failures, error=error)
        await self._log.append(
            execution_stream(command.execution_id), loaded.head, [self._new(fact, loaded.state, command)]
        )
        return told

    async def _run(self, loaded: Loaded, claim: Claim, command: AnyCommand) -> Verdict:
        graph = await self._definitions.graph_of(loaded.state)
        if self.nudge(command.execution_id):
            return DONE
        with segment(self._tracer, loaded.state, claim.event.epoch, await self._before(loaded, claim)):
            journal = Journal(self._log, graph, loaded, claim.event, self._moment, command.id)
            runner = Runner(journal, self._workshop, self._children, self._bus, self._clock)
            if self._stopping:
                return Verdict(done=False)
            self._runners[command.execution_id] = runner
            try:
                ending = await runner.run()
            finally:
                del self._runners[command.execution_id]
            segment_over(journal.state)
        return DONE if ending is Ending.SETTLED else Verdict(done=False)

    async def _before(self, loaded: Loaded, claim: Claim) -> list[str | None]:
        """What the span of a claim that is not the first one points to: where it began, and who was lost over it."""
        if claim.event.epoch == 1 or not self._tracer.is_on:
            return []
        created = loaded.state.traceparent
        if not isinstance(claim.event, ExecutionRecovered):
            return [created]
        last = await self._log.newest(execution_stream(loaded.state.execution_id))
        return [created, None if last is None else last.decode().envelope.traceparent]

    async def _load(self, command: AnyCommand, first_delivery: bool) -> Loaded | None:
        told = _told(command) if first_delivery and isinstance(command, Run) else None
        if told is not None:
            [event] = await self._log.hydrate([told.event])
            return Loaded(create(event), told.head)
        state, head = await self._log.fold(execution_stream(command.execution_id), EXECUTIONS)
        return None if state is None else Loaded(state, head)

    async def _ask_owner(self, owner: str, execution_id: ExecutionId) -> bool | None:
        """Whether the owner says that it holds the execution; None when that cannot be told now."""
        request = msgspec.json.encode(Nudge(execution_id=execution_id))
        try:
            answer = await self._bus.request(subjects.nudge(owner), request, NUDGE_SECONDS)
        except NobodyThere:
            return False
        except NoAnswer:
            return None
        return msgspec.json.decode(answer, type=NudgeReply).held

    def _moment(self) -> Moment:
        return Moment(at=self._clock.now(), actor=self._actor, new_id=new_id)

    def _new(self, fact: EventData, state: ExecutionState, command: AnyCommand) -> NewEvent:
        return NewEvent(
            id=EventId(new_id()),
            data=fact,
            tenant=state.tenant,
            workflow_id=state.workflow_id,
            execution_id=state.execution_id,
            actor=self._actor,
            recorded_at=self._clock.now(),
            causation_id=command.id,
            traceparent=current_traceparent() or state.traceparent,
            seal=seal_of(state.personal, fact),
        )


class _Told(msgspec.Struct, frozen=True):
    event: Event
    head: StreamHead


def _told(command: Run) -> _Told | None:
    """How the execution began as its `run` command tells it, which spares a read; None when it does not tell it.

    The claim names the hash of these very bytes as its head, so the log refuses it unless it holds the same.
    """
    if command.created is None:
        return None
    frame = command.created.encode()
    try:
        event = decode_joined(frame)
    except msgspec.DecodeError:
        return None
    if not isinstance(event.data, ExecutionCreated) or event.envelope.execution_id != command.execution_id:
        return None
    if event.data.blobs:
        return None  # not all of it is in there: the log has the rest
    return _Told(event, StreamHead(1, chain(GENESIS.hash, *split(frame))))
