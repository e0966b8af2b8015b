"""Why nothing can be done about a pause: it is not there, or its time is over."""

from datetime import datetime

from playhead_contracts.errors import Gone, NotFound
from playhead_contracts.ids import PauseId
from playhead_engine.state import ExecutionState, PauseState


class PauseUnknown(NotFound):
    problem, title = "pause-unknown", "There is no such pause here"

    def __init__(self, pause_id: str):
        super().__init__(f"this execution has no pause {pause_id}")


class PauseExpiredAlready(Gone):
    problem, title = "pause-expired", "The time for an answer is over"

    def __init__(self, pause: PauseState):
        super().__init__(
            f"pause {pause.pause_id} expired at {pause.expires_at and pause.expires_at.isoformat()}",
            facts={} if pause.answer is None else {"answer": pause.answer, "action": pause.action},
        )


class PauseClosed(Gone):
    problem, title = "pause-closed", "The pause was closed without an answer"

    def __init__(self, pause: PauseState):
        super().__init__(f"pause {pause.pause_id} was closed: {pause.reason or 'the execution has ended'}")


def find_pause(state: ExecutionState, pause_id: PauseId) -> PauseState:
    """The pause, whatever became of it. Raises PauseUnknown."""
    pause = state.pauses.get(pause_id)
    if pause is None:
        raise PauseUnknown(pause_id)
    return pause


def check_open(state: ExecutionState, pause: PauseState, at: datetime) -> None:
    """Raises PauseExpiredAlready or PauseClosed, also when it is only a matter of moments.

    One that is to be escalated stays open over its time: those who were asked first may still answer.
    """
    if pause.status == "expired":
        raise PauseExpiredAlready(pause)
    if pause.status != "open" or state.stop is not None or state.is_ended:
        raise PauseClosed(pause)
    escalates = pause.on_expiry is not None and pause.on_expiry.kind == "escalate"
    if pause.expires_at is not None and at >= pause.expires_at and not escalates:
        raise PauseExpiredAlready(pause)
