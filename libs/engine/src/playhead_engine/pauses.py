"""Everything about answering a pause is on this one page."""

from datetime import datetime

import msgspec

from playhead_contracts.errors import Conflict, Fault, Forbidden, Gone, InvalidInput, NotFound
from playhead_contracts.events import Actor, Json, PauseResolved
from playhead_contracts.ids import PauseId
from playhead_engine.schemas import faults_of
from playhead_engine.state import ExecutionState, PauseState


class PauseUnknown(NotFound):
    problem, title = "pause-unknown", "There is no such pause here"

    def __init__(self, pause_id: str):
        super().__init__(f"this execution has no pause {pause_id}")


class PauseAlreadyAnswered(Conflict):
    problem, title = "pause-already-answered", "This pause was answered differently"

    def __init__(self, pause: PauseState):
        who = pause.resolved_by.name if pause.resolved_by else "somebody"
        when = pause.resolved_at.isoformat() if pause.resolved_at else "before"
        super().__init__(
            f"pause {pause.pause_id} was answered by {who} at {when}; the answer stands",
            facts={"decided_by": who, "decided_at": when, "answer": pause.answer},
        )


class PauseExpiredAlready(Gone):
    problem, title = "pause-expired", "The time for an answer is over"

    def __init__(self, pause: PauseState):
        super().__init__(f"pause {pause.pause_id} expired at {pause.expires_at and pause.expires_at.isoformat()}")


class PauseClosed(Gone):
    problem, title = "pause-closed", "The pause was closed without an answer"

    def __init__(self, pause: PauseState):
        super().__init__(f"pause {pause.pause_id} was closed: {pause.reason or 'the execution has ended'}")


class NotAnAssignee(Forbidden):
    problem, title = "not-an-assignee", "This pause is for others to answer"

    def __init__(self, pause: PauseState, who: str):
        super().__init__(f"pause {pause.pause_id} is for {', '.join(pause.assignees)}, not for {who}")


class ProposalChanged(Conflict):
    problem, title = "proposal-changed", "What was shown is not what is asked"

    def __init__(self, pause: PauseState):
        super().__init__(
            f"the answer is to another proposal than the one pause {pause.pause_id} shows; look again",
            facts={"digest": pause.digest},
        )


class AnswerDoesNotFit(InvalidInput):
    problem, title = "answer-does-not-fit", "The answer does not fit the form"

    def __init__(self, pause_id: str, faults: tuple[Fault, ...]):
        super().__init__(f"the answer does not fit the form of pause {pause_id}", errors=faults)


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says to a pause. `digest` is that of the proposal they saw, if they say so."""

    values: dict[str, Json]
    by: Actor
    digest: str | None = None


def decide_answer(state: ExecutionState, pause_id: PauseId, answer: Answer, at: datetime) -> list[PauseResolved]:
    """Decide what an answer makes true: one `pause.resolved`, or nothing if this very answer was taken before.

    `at` is the moment of the answer, UTC. Raises PauseUnknown, NotAnAssignee, PauseAlreadyAnswered,
    PauseExpiredAlready, PauseClosed, ProposalChanged or AnswerDoesNotFit.
    """
    pause = state.pauses.get(pause_id)
    if pause is None:
        raise PauseUnknown(pause_id)
    if pause.assignees and answer.by.name not in pause.assignees:
        raise NotAnAssignee(pause, answer.by.name)
    match pause.status:
        case "answered" if pause.answer == answer.values:
            return []
        case "answered":
            raise PauseAlreadyAnswered(pause)
        case "expired":
            raise PauseExpiredAlready(pause)
        case "closed":
            raise PauseClosed(pause)
        case "open":
            pass
    if state.stop is not None or state.is_ended:
        raise PauseClosed(pause)
    if pause.expires_at is not None and at >= pause.expires_at:
        raise PauseExpiredAlready(pause)
    if answer.digest is not None and answer.digest != pause.digest:
        raise ProposalChanged(pause)
    if pause.form is not None and (faults := faults_of(pause.form, answer.values)):
        raise AnswerDoesNotFit(pause_id, faults)
    return [
        PauseResolved(
            pause_id=pause_id,
            path=pause.path,
            resolution="answered",
            answer=answer.values,
            digest=pause.digest,
        )
    ]
