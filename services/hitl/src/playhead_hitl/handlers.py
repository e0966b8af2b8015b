"""One answer: load, fold, decide, append; only then tell anybody."""

import msgspec

from playhead_contracts import subjects
from playhead_contracts.commands import AnswerPause, PauseAnswered, Resume
from playhead_contracts.errors import VersionConflict
from playhead_contracts.events import NewEvent
from playhead_contracts.ids import EventId, execution_stream
from playhead_engine.folding import fold
from playhead_engine.pauses import Answer, PauseUnknown, decide_answer
from playhead_engine.state import ExecutionState
from playhead_eventlog import EventLog
from playhead_runtime.bus import Bus
from playhead_runtime.clock import Clock
from playhead_runtime.ids import new_id
from playhead_runtime.live import nudge_owner, tell


async def answer_pause(command: AnswerPause, log: EventLog, bus: Bus, clock: Clock) -> PauseAnswered:
    """Let an answer win, or tell that this very answer already did.

    Refusals are those of `decide_answer`; another tenant's execution is as unknown as one that never was. The resume
    command is sent again for a repeated answer: should the first have been lost, this mends it at once.
    """
    stream = execution_stream(command.execution_id)
    answer = Answer(values=command.answer, by=command.actor, digest=command.digest)
    while True:
        events, head = await log.load(stream)
        state = fold(events)
        if state is None or state.tenant != command.tenant:
            raise PauseUnknown(command.pause_id)
        facts = decide_answer(state, command.pause_id, answer, at=clock.now())
        if not facts:
            await _set_going(state, command, bus)
            return _standing(state, command)
        new = [
            NewEvent(
                id=EventId(new_id()),
                data=fact,
                tenant=state.tenant,
                workflow_id=state.workflow_id,
                execution_id=state.execution_id,
                actor=command.actor,
                recorded_at=clock.now(),
            )
            for fact in facts
        ]
        try:
            appended = await log.append(stream, head, new)
        except VersionConflict:
            continue  # somebody else's fact came first: fold it, decide again
        await _set_going(state, command, bus)
        await tell(bus, state.tenant, state.execution_id, appended.frames)
        return PauseAnswered(
            version=appended.head.version,
            repeated=False,
            answered_by=command.actor,
            answered_at=new[-1].recorded_at,
        )


def _standing(state: ExecutionState, command: AnswerPause) -> PauseAnswered:
    pause = state.pauses[command.pause_id]
    return PauseAnswered(
        version=pause.resolved_version or state.version,
        repeated=True,
        answered_by=pause.resolved_by or command.actor,
        answered_at=pause.resolved_at or state.updated_at,
    )


async def _set_going(state: ExecutionState, command: AnswerPause, bus: Bus) -> None:
    """Nudge whoever is to go on. Not waited for: the log holds the answer, and the reconciler finds what is due."""
    if state.is_ended:
        return
    resume = Resume(
        id=f"resume:{command.pause_id}",
        tenant=state.tenant,
        execution_id=state.execution_id,
        pause_id=command.pause_id,
    )
    await nudge_owner(bus, state.owner, state.execution_id)
    await bus.send_soon(subjects.command(state.tenant, Resume.kind()), msgspec.json.encode(resume), resume.id)
